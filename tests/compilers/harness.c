/*
 * Runs the compiled decisions on this processor and holds them against a rule.
 *
 * Each line of its input is a job: the function's address, the rule (masks of dst and
 * src), the bits and the constants worth trying, and the addresses of its branches. Each
 * line of its output: how many calls the rule foretold wrong, which the first was, and
 * how many calls passed the branches as they should not.
 */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

typedef uint64_t u64;

struct mm_struct { u64 x; int y; u64 atomic; };
struct file { u64 f_mode; };
struct vm_area_struct {
	u64 vm_start, vm_end;
	struct mm_struct *vm_mm;
	u64 vm_page_prot, vm_flags, vm_lock, pad[ANON_VMA_PAD];
	void *anon_vma, *vm_ops;
	u64 vm_pgoff;
	struct file *vm_file;
	void *vm_private_data;
};
#define V struct vm_area_struct

u64 state_long, state_atomic;
int state_int;

/* Above and below a VMA there are others. */
static V vmas[4];
static V *const dst = vmas + 1, *const src = vmas + 2;
static struct mm_struct mms[3];
static struct file files[2];

static int copies, again;

static int copied(void)
{
	copies++;
	return again-- > 0;
}

int copy_pages(V *d, V *s) { return copied(); }
int copy_huge(V *d, V *s) { return copied(); }
int copy_range(V *d, V *s, u64 a, u64 e) { return copied(); }
int track(V *d, V *s) { return copied(); }
void notify(void *range) { copied(); }

/* Numbers that are the same in each run. */
static u64 seed;

static u64 number(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dULL;
}

#define MOST 16
static u64 constants[MOST];
static int n_constants;

static int eager;

/* A value that other state may have. */
static u64 value(void)
{
	u64 kind = number() >> 60;

	/* All at once what conditions ask for, which are the first two. */
	if (eager)
		return constants[number() >> 63];
	if (kind < 4)
		return 0;
	if (kind < 9 && n_constants)
		return constants[(number() >> 32) % n_constants];
	if (kind < 11)
		return 1ULL << (number() >> 58);
	if (kind < 13)
		return (number() >> 32) % 256;
	return number();
}

static u64 branches[MOST];
static int n_branches, passed[MOST], inside = -1;
static unsigned char saved[MOST];

/* A breakpoint was met, or the instruction under it was stepped over. */
static void on_trap(int signal, siginfo_t *info, void *context)
{
	greg_t *regs = ((ucontext_t *)context)->uc_mcontext.gregs;
	int i;

	if (inside >= 0) {
		*(unsigned char *)branches[inside] = 0xcc;
		inside = -1;
		regs[REG_EFL] &= ~0x100;
		/* The instruction after it may be one as well: it traps by itself. */
		return;
	}
	for (i = 0; i < n_branches; i++)
		if ((u64)regs[REG_RIP] == branches[i] + 1) {
			passed[i]++;
			*(unsigned char *)branches[i] = saved[i];
			inside = i;
			regs[REG_RIP]--;
			regs[REG_EFL] |= 0x100;
			return;
		}
	abort();
}

typedef int (*decision)(V *, V *);
static decision function;
static u64 rule_dst, rule_src, worth_dst, worth_src;
static u64 calls, wrong, errors;
static char first[512];

static void all_else(int how)
{
	int i, j;

	for (i = 0; i < 4; i++) {
		V *v = vmas + i;
		v->vm_mm = mms + (how ? (number() >> 32) % 3 : 0);
		v->vm_start = 0x400000 + (how ? (number() >> 32) % 512 * 0x1000 : 0);
		v->vm_end = v->vm_start + 0x1000
			+ (how ? (number() >> 32) % 1024 * 0x1000 : 0);
		v->vm_page_prot = how ? value() : 0;
		v->vm_lock = how ? value() : 0;
		v->vm_ops = (void *)(how ? value() : 0);
		v->vm_pgoff = how ? value() : 0;
		for (j = 0; j < ANON_VMA_PAD; j++)
			v->pad[j] = how ? value() : 0;
		v->vm_private_data = (void *)(how ? value() : 0);
		v->vm_file = how && number() >> 63 ? files + (number() >> 63) : 0;
	}
	if (how && number() >> 62 == 0)
		dst->vm_pgoff = src->vm_pgoff;
	for (i = 0; i < 3; i++) {
		mms[i].x = how ? value() : 0;
		mms[i].y = how ? value() : 0;
	}
	for (i = 0; i < 2; i++)
		files[i].f_mode = how ? value() : 0;
	state_long = how ? value() : 0;
	state_int = how ? value() : 0;
	state_atomic = how ? value() : 0;
}

static void call(u64 d, u64 s, u64 d_anon, u64 s_anon)
{
	u64 own[8] = {
		src->vm_pgoff, dst->vm_pgoff, state_long, state_int, src->vm_mm->x,
		(u64)src->vm_file, state_atomic, src->vm_page_prot,
	};
	int expected = (d & rule_dst) || (s & rule_src) || s_anon;
	int i, sum = 0, more = 0, result;

	dst->vm_flags = d;
	src->vm_flags = s;
	dst->anon_vma = (void *)d_anon;
	src->anon_vma = (void *)s_anon;
	copies = 0;
	again = (number() >> 32) % 3;
	memset(passed, 0, sizeof(passed));
	result = function(dst, src);
	calls++;
	if (expected ? !copies : copies || result) {
		if (!wrong++)
			snprintf(first, sizeof(first),
				"dst %lx src %lx anons %lx %lx pgoff %lx %lx long %lx"
				" int %lx mm %lx file %lx atomic %lx prot %lx:"
				" copies %d, returns %d", d, s, d_anon, s_anon,
				own[0], own[1], own[2], own[3], own[4], own[5],
				own[6], own[7], copies, result);
	}
	for (i = 0; i < n_branches; i++) {
		sum += passed[i];
		more += passed[i] > 1;
	}
	if (n_branches && (more || sum != expected))
		errors++;
}

static u64 some(u64 rule, u64 worth)
{
	u64 dense = number();

	switch (number() >> 61) {
	case 0: return dense;
	case 1: return dense & number();
	case 2: return dense & ~rule;
	case 3: return dense & number() & ~rule;
	case 4: return dense & rule;
	case 5: return (dense & worth) | (number() & number() & ~rule);
	case 6: return n_constants ? constants[(number() >> 32) % n_constants] : 0;
	default: return 0;
	}
}

static void each_bit(void)
{
	int bit;

	for (bit = 0; bit < 64; bit++) {
		u64 one = 1ULL << bit;
		call(one, 0, 0, 0);
		call(0, one, 0, 0);
		call(one, one, 0, 0);
		call(0, 0, one, 0);
		call(0, 0, 0, one);
		call(one, 0, one, 0);
		call(0, one, 0, one);
	}
}

static void any_vmas(int count)
{
	while (count--) {
		u64 s = some(rule_src, worth_src), d = some(rule_dst, worth_dst);
		u64 d_anon = number() >> 62 ? 0 : value();
		u64 s_anon = number() >> 62 ? 0 : value();

		if (number() >> 63)
			d = s & (number() >> 63 ? ~0ULL : number());
		if (number() >> 61 == 0)
			d_anon = s_anon;
		eager = n_constants && number() >> 62 == 0;
		all_else(1);
		call(d, s, d_anon, s_anon);
	}
}

static void job(int tries, int watched)
{
	int how, kept = n_branches, i;

	n_branches = 0;
	for (how = 0; how < 3; how++) {
		all_else(how);
		call(0, 0, 0, 0);
		each_bit();
	}
	any_vmas(tries);
	n_branches = kept;
	if (!n_branches)
		return;
	for (i = 0; i < n_branches; i++) {
		saved[i] = *(unsigned char *)branches[i];
		*(unsigned char *)branches[i] = 0xcc;
	}
	any_vmas(watched);
	for (i = 0; i < n_branches; i++)
		*(unsigned char *)branches[i] = saved[i];
}

static void map(u64 start, u64 size, int more)
{
	if (mmap((void *)start, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
		| MAP_NORESERVE | MAP_FIXED_NOREPLACE | more, -1, 0) == MAP_FAILED) {
		perror("mmap");
		exit(2);
	}
}

extern char __executable_start, etext;

int main(int argc, char **argv)
{
	static u64 per_cpu[64];
	int tries = atoi(argv[1]), watched = atoi(argv[2]), i;
	u64 start = (u64)&__executable_start & ~0xfffUL, end = (u64)&etext;
	u64 stack = (u64)__builtin_frame_address(0);
	struct sigaction action = { .sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER };

	/* What KASAN looks at: the memory of everything here may be accessed. */
	map(SHADOW, 1 << 26, 0);
	map(SHADOW + ((stack - (1 << 22)) >> 3 & ~0xfffUL), 1 << 20, 0);
	/* The stack guard lies where the kernel's per-CPU variables are. */
	per_cpu[5] = 0x1122334455667788;
	syscall(SYS_arch_prctl, ARCH_SET_GS, per_cpu);
	if (mprotect((void *)start, end - start, PROT_READ | PROT_WRITE | PROT_EXEC)) {
		perror("mprotect");
		return 2;
	}
	sigaction(SIGTRAP, &action, NULL);
	while (scanf("%lx %lx %lx %lx %lx %d", (u64 *)&function, &rule_dst, &rule_src,
		&worth_dst, &worth_src, &n_constants) == 6) {
		for (i = 0; i < n_constants; i++)
			scanf("%lx", constants + i);
		scanf("%d", &n_branches);
		for (i = 0; i < n_branches; i++)
			scanf("%lx", branches + i);
		seed = 88172645463325252ULL;
		calls = wrong = errors = 0;
		first[0] = 0;
		job(tries, watched);
		printf("%lu %lu %s\n", wrong, errors, first);
		fflush(stdout);
	}
	return 0;
}
