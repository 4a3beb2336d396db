/* What the decisions see of a kernel: structures, and functions that copy. */
typedef unsigned long u64;
typedef unsigned int u32;
typedef unsigned char u8;
typedef _Bool bool;
#define true 1
#define false 0
#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define noinline __attribute__((noinline))
#define inlined static inline __attribute__((always_inline))

struct mm_struct {
	u64 x;
	int y;
	u64 atomic;
};
struct file {
	u64 f_mode;
};
typedef struct {
	u64 bits[1];
} vma_flags_t;

struct vm_area_struct {
	u64 vm_start, vm_end;
	struct mm_struct *vm_mm;
	u64 vm_page_prot;
	union {
		u64 vm_flags;
		vma_flags_t flags;
		u32 half[2];
		u8 byte[8];
	};
	u64 vm_lock;
	u64 pad[ANON_VMA_PAD];
	void *anon_vma;
	void *vm_ops;
	u64 vm_pgoff;
	struct file *vm_file;
	void *vm_private_data;
};

extern u64 state_long;
extern int state_int;
extern u64 state_atomic;

/* Each counts as copying. */
int copy_pages(struct vm_area_struct *dst, struct vm_area_struct *src);
int copy_huge(struct vm_area_struct *dst, struct vm_area_struct *src);
int copy_range(struct vm_area_struct *dst, struct vm_area_struct *src, u64 addr, u64 end);
int track(struct vm_area_struct *dst, struct vm_area_struct *src);
void notify(void *range);

#define V struct vm_area_struct
#define A (src->anon_vma)
#define D (dst->vm_flags)
#define S (src->vm_flags)
#define BIT(n) (1UL << (n))
#define VM_SHARED BIT(3)
#define VM_MAYWRITE BIT(5)
#define VM_PFNMAP BIT(10)
#define VM_HUGETLB BIT(22)

inlined bool test_bit_asm(long nr, const u64 *bits)
{
	bool old;
	__asm__ volatile("btq %2,%1" : "=@ccc"(old) : "m"(*bits), "Jr"(nr));
	return old;
}

inlined bool test_bit(long nr, const u64 *bits)
{
	return 1UL & (bits[nr / 64] >> (nr & 63));
}

inlined int popcount(u64 x)
{
	x -= x >> 1 & 0x5555555555555555UL;
	x = (x & 0x3333333333333333UL) + (x >> 2 & 0x3333333333333333UL);
	return ((x + (x >> 4)) & 0x0f0f0f0f0f0f0f0fUL) * 0x0101010101010101UL >> 56;
}

inlined u64 xadd(u64 *at, u64 value)
{
	__asm__ volatile("lock xaddq %0,%1" : "+r"(value), "+m"(*at) : : "memory", "cc");
	return value;
}

inlined u64 cmpxchg(u64 *at, u64 old, u64 new)
{
	__asm__ volatile("lock cmpxchgq %2,%1"
		: "+a"(old), "+m"(*at) : "r"(new) : "memory", "cc");
	return old;
}

/* The kernel's own walk, cut short. */
inlined int walk(V *dst, V *src)
{
	u64 addr = src->vm_start, end = src->vm_end, next;
	u64 range[4];
	bool is_cow;
	int ret;

	if (S & VM_HUGETLB)
		return copy_huge(dst, src);
	if (unlikely(S & VM_PFNMAP)) {
		ret = track(dst, src);
		if (ret)
			return ret;
	}
	is_cow = (S & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE;
	if (is_cow) {
		range[0] = addr;
		range[1] = end;
		range[2] = (u64)src->vm_mm;
		notify(range);
	}
	ret = 0;
	do {
		next = (addr + 0x200000) & ~0x1fffffUL;
		if (next - 1 >= end - 1)
			next = end;
		if (unlikely(copy_range(dst, src, addr, next))) {
			ret = -12;
			break;
		}
	} while (addr = next, addr != end);
	if (is_cow)
		notify(range);
	return ret;
}
