// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What copy-on-write costs after a fork: the write faults that copied a page, of the
 * child and of its parent, for as long as the child shares the parent's memory.
 *
 * It stands apart from forktrace.c: nobody pays for it who did not ask for it. Memory is
 * followed by its mm: from wake_up_new_task(), when the child cannot have run yet, to
 * exit_mmap(), which comes with the last exit and with exec alike.
 *
 * A fault is the kernel's do_wp_page(), or wp_page_copy() where that is not inlined; a
 * copied page is told by the one call in it that gives the copy its rmap. A huge page is
 * never copied whole, but split, by do_huge_pmd_wp_page() (Linux 5.8, commit
 * 3917c80280c9): what follows are faults like all others.
 *
 *   OFF_...      struct offsets, from BTF
 *   MMS, FAULTS  how many mms and faults under way are known at once
 *   MAPPINGS     how many mappings of an mm are told apart: a power of two
 *   MUCH         pages by which a mapping keeps its place among them
 *
 * forktrace/tracer/cow.py mirrors the structs.
 */
#include <uapi/linux/ptrace.h>

#define PF_EXITING 0x00000004
#define VM_FAULT_FALLBACK 0x000800

enum lost { LOST_MM, LOST_FAULT, LOST_EVENT, LOST_STAGES };

struct cost {
	u64 pages;
	u64 copy_ns; /* of the faults that copied them */
	u64 splits;  /* of huge pages */
	u64 split_ns;
};

/* What the faults in one VMA copied and how long they took, splits included. */
struct mapping {
	u64 start; /* 0: not taken yet */
	u64 pages;
	u64 ns;
};

/* An mm that shares pages with others since a fork. Sent as it is when it ends, if it is
 * a child's. */
struct sharer {
	u32 pid; /* 0: it was not seen to be made */
	u32 parent;
	u64 parent_mm; /* 0 in the end: that ended before */
	u64 forked_ns;
	u64 lived_ns;
	u64 teardown_ns; /* exit_mmap() */
	u64 execs;       /* it ended by exec */
	u64 children;    /* of it, that live */
	struct cost own;
	struct cost parents; /* its parent's own as it was made; in the end, what came since */
	struct mapping mappings[MAPPINGS];
	struct mapping parents_mappings[MAPPINGS]; /* as parents */
	char comm[16];				   /* the parent process' */
};

struct under_way {
	u64 start_ns;
	u64 mm;
	u64 vma_start;
	u64 pages;
};

struct cow_totals {
	struct cost parents;
	struct cost children;
	u64 ended; /* children */
	u64 teardown_ns;
	u64 lost[LOST_STAGES];
};

BPF_HASH(sharers, u64, struct sharer, MMS);
/* What every sharer starts as: it is too large for the stack. */
BPF_ARRAY(blank, struct sharer, 1);
BPF_HASH(under_ways, u64, struct under_way, FAULTS);
BPF_F_TABLE("array", int, struct cow_totals, cow_totals, 1, BPF_F_MMAPABLE);
/* Of one page: who loads it decides how large it is. */
BPF_RINGBUF_OUTPUT(cow_events, 1);

#define READ(size, ptr, offset)                                                    \
	({                                                                         \
		u##size _value = 0;                                                \
		bpf_probe_read_kernel(&_value, sizeof(_value),                     \
				      (char *)(ptr) + (offset));                   \
		_value;                                                            \
	})

static __always_inline void add(u64 *sum, u64 value)
{
	__sync_fetch_and_add(sum, value);
}

static __always_inline struct cow_totals *sums(void)
{
	int zero = 0;
	return cow_totals.lookup(&zero);
}

static __always_inline void lose(enum lost stage)
{
	struct cow_totals *sum = sums();
	if (sum)
		add(&sum->lost[stage], 1);
}

/* The memory of the current task, if it is shared since a fork. */
static __always_inline struct sharer *ours(u64 *mm)
{
	struct sharer *sharer;

	*mm = READ(64, bpf_get_current_task(), OFF_TASK_MM);
	sharer = sharers.lookup(mm);
	return sharer && (sharer->pid || sharer->children) ? sharer : 0;
}

static __always_inline struct cost *total(struct sharer *sharer)
{
	struct cow_totals *sum = sums();

	if (!sum)
		return 0;
	/* A child that forked is both: what it copies it would copy without that, too. */
	return sharer->pid ? &sum->children : &sum->parents;
}

/* Where the faults in a VMA are added up; nowhere, if there are too many VMAs. Of these
 * one that copied little makes room for another now and then, so that those that copy
 * much are among them. Two threads may take one place at once: then some faults count
 * for the other one's mapping. */
static __always_inline struct mapping *mapping_of(struct sharer *sharer, u64 start)
{
	struct mapping *mapping;

	if (!start)
		return 0;
#pragma unroll
	for (int i = 0; i < MAPPINGS; i++) {
		mapping = &sharer->mappings[i];
		if (!mapping->start)
			mapping->start = start;
		if (mapping->start == start)
			return mapping;
	}
	mapping = &sharer->mappings[bpf_get_prandom_u32() & (MAPPINGS - 1)];
	if (mapping->pages >= MUCH)
		return 0;
	mapping->start = start;
	mapping->pages = 0;
	mapping->ns = 0;
	return mapping;
}

static __always_inline void add_ns(struct sharer *sharer, u64 start, u64 ns)
{
	struct mapping *mapping = mapping_of(sharer, start);

	if (mapping)
		add(&mapping->ns, ns);
}

static __always_inline struct sharer *new_sharer(u64 mm)
{
	int zero = 0;
	struct sharer *nothing = blank.lookup(&zero);

	if (!nothing || sharers.update(&mm, nothing)) {
		lose(LOST_MM);
		return 0;
	}
	return sharers.lookup(&mm);
}

/* wake_up_new_task(): the parent is the current task, and the child has not run. */
int child_shares(struct pt_regs *ctx)
{
	u64 task = bpf_get_current_task();
	u64 child_task = PT_REGS_PARM1(ctx);
	u64 mm = READ(64, child_task, OFF_TASK_MM);
	u64 parent_mm = READ(64, task, OFF_TASK_MM);
	struct sharer *child, *parent;

	if (!mm || !parent_mm || mm == parent_mm)
		return 0;
	parent = sharers.lookup(&parent_mm);
	if (!parent)
		parent = new_sharer(parent_mm);
	if (!parent)
		return 0;
	child = new_sharer(mm);
	if (!child)
		return 0;
	add(&parent->children, 1);
	child->parent = bpf_get_current_pid_tgid() >> 32;
	child->parent_mm = parent_mm;
	child->forked_ns = bpf_ktime_get_ns();
	child->parents = parent->own;
#pragma unroll
	for (int i = 0; i < MAPPINGS; i++)
		child->parents_mappings[i] = parent->mappings[i];
	bpf_probe_read_kernel(child->comm, sizeof(child->comm),
			      (char *)READ(64, task, OFF_TASK_GROUP_LEADER) +
				      OFF_TASK_COMM);
	child->pid = READ(32, child_task, OFF_TASK_PID);
	return 0;
}

/* do_wp_page() or wp_page_copy(), and do_huge_pmd_wp_page() */
int fault_begins(struct pt_regs *ctx)
{
	struct under_way now = {};
	u64 task = bpf_get_current_task();
	u64 vma;

	if (!ours(&now.mm))
		return 0;
	vma = READ(64, PT_REGS_PARM1(ctx), OFF_VMF_VMA);
	now.vma_start = READ(64, vma, OFF_VMA_START);
	now.start_ns = bpf_ktime_get_ns();
	if (under_ways.update(&task, &now))
		lose(LOST_FAULT);
	return 0;
}

/* The copy of a page gets its rmap. */
int page_is_copied(struct pt_regs *ctx)
{
	u64 task = bpf_get_current_task(), mm;
	struct under_way *fault = under_ways.lookup(&task);
	struct sharer *sharer = ours(&mm);
	struct mapping *mapping;
	struct cost *sum;

	if (!sharer)
		return 0;
	add(&sharer->own.pages, 1);
	sum = total(sharer);
	if (sum)
		add(&sum->pages, 1);
	if (!fault)
		return 0;
	fault->pages = 1;
	mapping = mapping_of(sharer, fault->vma_start);
	if (mapping)
		add(&mapping->pages, 1);
	return 0;
}

/* Time counts for a fault that copied: one that finds nobody else left to share with,
 * and only makes the page writable, is not copy-on-write's price. */
int fault_ends(struct pt_regs *ctx)
{
	u64 task = bpf_get_current_task();
	struct under_way *fault = under_ways.lookup(&task);
	struct sharer *sharer;
	struct cost *sum;
	u64 took;

	if (!fault)
		return 0;
	took = bpf_ktime_get_ns() - fault->start_ns;
	sharer = fault->pages ? sharers.lookup(&fault->mm) : 0;
	if (sharer) {
		add(&sharer->own.copy_ns, took);
		add_ns(sharer, fault->vma_start, took);
		sum = total(sharer);
		if (sum)
			add(&sum->copy_ns, took);
	}
	under_ways.delete(&task);
	return 0;
}

int split_ends(struct pt_regs *ctx)
{
	u64 task = bpf_get_current_task();
	struct under_way *fault = under_ways.lookup(&task);
	struct sharer *sharer;
	struct cost *sum;
	u64 took;

	if (!fault)
		return 0;
	took = bpf_ktime_get_ns() - fault->start_ns;
	sharer = PT_REGS_RC(ctx) & VM_FAULT_FALLBACK ? sharers.lookup(&fault->mm) : 0;
	if (sharer) {
		add(&sharer->own.splits, 1);
		add(&sharer->own.split_ns, took);
		add_ns(sharer, fault->vma_start, took);
		sum = total(sharer);
		if (sum) {
			add(&sum->splits, 1);
			add(&sum->split_ns, took);
		}
	}
	under_ways.delete(&task);
	return 0;
}

/* exit_mmap(): nobody uses this mm any more. */
int mm_ends(struct pt_regs *ctx)
{
	struct under_way now = { .mm = PT_REGS_PARM1(ctx) };
	u64 task = bpf_get_current_task();

	if (!sharers.lookup(&now.mm))
		return 0;
	now.start_ns = bpf_ktime_get_ns();
	if (under_ways.update(&task, &now))
		lose(LOST_FAULT);
	return 0;
}

/* Turns what a parent had copied as its child was made into what came since. */
static __always_inline void since(struct sharer *child, struct sharer *parent)
{
	struct cost *before = &child->parents, *now = &parent->own;

	before->pages = now->pages - before->pages;
	before->copy_ns = now->copy_ns - before->copy_ns;
	before->splits = now->splits - before->splits;
	before->split_ns = now->split_ns - before->split_ns;
#pragma unroll
	for (int i = 0; i < MAPPINGS; i++) {
		struct mapping *had = &child->parents_mappings[i];
		struct mapping *has = &parent->mappings[i];

		/* Else it took the place since. */
		if (had->start == has->start) {
			had->pages = has->pages - had->pages;
			had->ns = has->ns - had->ns;
		} else {
			*had = *has;
		}
	}
}

int mm_has_ended(struct pt_regs *ctx)
{
	u64 task = bpf_get_current_task();
	struct under_way *end = under_ways.lookup(&task);
	struct sharer *sharer = end ? sharers.lookup(&end->mm) : 0;
	struct cow_totals *sum = sums();
	struct sharer *parent;
	u64 now = bpf_ktime_get_ns(), mm;

	if (!sharer || !sum)
		goto out;
	mm = end->mm;
	if (sharer->pid) {
		sharer->lived_ns = end->start_ns - sharer->forked_ns;
		sharer->teardown_ns = now - end->start_ns;
		sharer->execs = !(READ(32, task, OFF_TASK_FLAGS) & PF_EXITING);
		add(&sum->ended, 1);
		add(&sum->teardown_ns, sharer->teardown_ns);
		parent = sharers.lookup(&sharer->parent_mm);
		if (parent) {
			add(&parent->children, -1ULL);
			since(sharer, parent);
		} else {
			sharer->parent_mm = 0;
		}
		if (cow_events.ringbuf_output(sharer, sizeof(*sharer), 0))
			lose(LOST_EVENT);
	}
	sharers.delete(&mm);
out:
	under_ways.delete(&task);
	return 0;
}
