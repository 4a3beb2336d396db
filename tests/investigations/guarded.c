/*
 * A library that puts a guard page behind what it maps, preloaded into any program.
 *
 * GUARDED_FILE: map this file, shared, whole and with all its pages present, as a
 * library does with its data. GUARDED_MMAP: have the guard stand behind each shared
 * anonymous mapping of at least so many bytes that the program makes, as a hardened
 * allocator would. GUARDED_BY: "madvise" installs a guard region, anything else maps a
 * PROT_NONE page in its place.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define GUARD_INSTALL 102 /* MADV_GUARD_INSTALL, which older headers lack */
#define PAGE 4096

static void *map(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	return (void *)syscall(SYS_mmap, at, size, prot, flags, fd, offset);
}

static void guard(void *page)
{
	const char *by = getenv("GUARDED_BY");

	if (by && !strcmp(by, "madvise")) {
		if (madvise(page, PAGE, GUARD_INSTALL))
			abort();
	} else if (map(page, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		       -1, 0) == MAP_FAILED) {
		abort();
	}
}

__attribute__((constructor)) static void map_file(void)
{
	const char *path = getenv("GUARDED_FILE");
	struct stat stat;
	char *data;
	int fd;

	if (!path)
		return;
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &stat))
		abort();
	data = map(NULL, stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		   fd, 0);
	if (data == MAP_FAILED)
		abort();
	guard(data + stat.st_size - PAGE);
	close(fd);
}

void *mmap(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	const char *least = getenv("GUARDED_MMAP");
	int shared = (flags & MAP_SHARED) && (flags & MAP_ANONYMOUS);
	char *data;

	if (!least || !shared || size < strtoull(least, NULL, 10))
		return map(at, size, prot, flags, fd, offset);
	size = (size + PAGE - 1) & -PAGE;
	data = map(at, size + PAGE, prot, flags, fd, offset);
	if (data != MAP_FAILED)
		guard(data + size);
	return data;
}
