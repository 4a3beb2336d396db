// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * forktrace's BPF program: what fork() copied, VMA by VMA, and what it cost.
 *
 * One slot of an array follows each fork from the entry of kernel_clone() to its
 * return; copy_page_range() finds it by the calling task. Nothing else is
 * touched per VMA: sums move from the slot into the totals once a fork, so that the
 * hot path has no hash update, no atomic and, for a skipped VMA, no clock read.
 *
 * Two pairs of programs can follow copy_page_range(): fentry/fexit, which read kernel
 * memory directly, and kprobe/kretprobe. Each fork belongs to one pair from its start to
 * its end, so that tracing can change from one pair to the other while forks are under
 * way.
 *
 * Any program may miss a call:
 *
 * - The kernel does not run a fentry or fexit program while another task's run of it is
 *   preempted on the same CPU.
 * - A kretprobe has only so many places for calls under way.
 * - No kprobe program runs on a CPU where a task was preempted within a bpf() call that
 *   reads or writes a map (bpf_disable_instrumentation()).
 *
 * So whatever must be exact hangs on kprobes at function entries alone: the start of a
 * fork, its child and the exit of a task that is still in a fork. User space reads and
 * writes its maps by mmap, never by bpf(). What is missed nevertheless, mostly a time, is
 * counted in `lost`.
 *
 * What differs between kernels comes in as macros, from the running kernel itself:
 *
 *   OFF_...      struct offsets, from BTF
 *   DST_MASK     bits of dst_vma->vm_flags that make the kernel copy
 *   SRC_MASK     the same for src_vma->vm_flags
 *   ROW_OF(bits) the bits of both masks packed next to each other
 *   ROWS         how many (trigger, anon_vma) there are: two for each subset of bits
 *   PAGE_BYTES   the size of a page
 *   SLOTS, COSTS, CHILDREN, BUCKETS, BUCKET_OF(ns): sizes and histogram bounds
 *   REGISTERS, SP    words of struct pt_regs, and which of them is the stack pointer
 *
 * forktrace/tracer/layout.py mirrors every struct below, field by field.
 */
#include <uapi/linux/ptrace.h>

#define CLONE_VM 0x00000100
#define MAX_ERRNO 4095
#define PROBES 8 /* places where a thread's slot may lie */
#define SLOTLESS 8192
#define COST_PROBES 8
#define CGROUP_NAME 128
#define CHOICES 16
#define WATCHED_CGROUPS 64
#define ERRNOS 64
#define STACK_PIECE 1024
#define STACK_PIECES 16
#define ERESTARTNOINTR 513 /* the kernel's own, include/linux/errno.h: a signal came */

enum lost { LOST_FORK_SLOT, LOST_FORK_ENTRY, LOST_FORK_CHILD, LOST_FORK_OUTCOME,
	    LOST_FORK_RETURN, LOST_COPY, LOST_COPY_ENTRY, LOST_COPY_RETURN,
	    LOST_COPY_TIME, LOST_FORK_PARTS, LOST_WITNESS, LOST_EXEC_CHILD, LOST_FORK_EVENT,
	    LOST_VMA_EVENT, LOST_EXEC_EVENT, LOST_VFORK_EVENT, LOST_STACK_EVENT,
	    LOST_STAGES };
enum way { BY_FENTRY, BY_KPROBE, WAYS };
enum source { BY_RULE, BY_RETURN, BY_BRANCH, SOURCES };
enum verdict { UNSEEN, SKIP, COPY };
enum whose { BY_COMM, BY_CGROUP, WHOSE };
/* What a fork's time is made of, in this order except that copying happens within the
 * third: copy_process() up to dup_mmap(), the wait for the parent's mmap_lock,
 * duplicating VMAs without copy_page_range(), copy_page_range(), and the rest. */
enum part { SETUP, MMAP_LOCK, VMAS, COPYING, FINISH, PARTS };
enum event_type { FORK_EVENT = 1, VMA_EVENT = 2, EXEC_EVENT = 3, VFORK_EVENT = 4,
		  STACK_EVENT = 5 };

/* What the copies of one (trigger, anon_vma) cost. Row 2n holds the trigger whose
 * packed bits are n without an anon_vma, row 2n + 1 with one. */
struct row {
	u64 vmas;
	u64 copy_ns;
	u64 page_table_bytes;
};

/* One fork under way; sent as it is when the fork ends and somebody listens. It is
 * settled, that is added to the totals, as soon as its child is made: then only the time
 * of its end is open. */
struct fork_slot {
	u32 type; /* FORK_EVENT */
	u32 tid;
	u32 pid;
	u32 child_pid;
	s64 ret; /* the child's id, or a negative errno */
	u64 start_ns;
	u64 duration_ns;
	u64 cgroup;
	char comm[16];   /* the process', which is its first thread's */
	char thread[16]; /* that of the thread which called */
	u64 parts[PARTS]; /* ns each; all 0 where not known */
	u32 parent_vmas; /* map_count of the parent's mm, its lock held */
	u32 child_vmas;  /* map_count of the child's mm before it first ran */
	u32 calls;       /* of copy_page_range() */
	u32 skipped;
	u32 unknown;     /* calls of which the decision is not known */
	u32 index;       /* of this slot */
	u32 way;         /* enum way: whose programs follow its copies */
	u32 late;        /* its end was missed: the task is past it */
	u64 task;        /* owner, 0 when the slot is free */
	u64 page_tables; /* dst mm's pgtables_bytes when the last copy ended */
	u64 dst_mm;
	u64 copy_ns; /* of all VMAs, once settled */
	u64 lock_ns; /* when dup_mmap() began to wait for the parent's mmap_lock, */
	u64 locked_ns; /* when it had it, */
	u64 mapped_ns; /* and when it was done */
	u64 run_delay; /* what the task ever waited for a CPU; in the end, for this fork */
	u64 copy_delay; /* the same, up to the VMA under way */
	u64 pinned_bytes; /* of pages that were copied themselves, */
	u64 told_pinned;  /* and of those the ones in VMAs already described */
	/* the VMA under way */
	u64 src;
	u64 dst;
	u64 copy_start_ns;
	u32 inside; /* copy_page_range() was entered and has not returned */
	u32 row;    /* by the rule; NO_ROW when the rule says skip */
	u32 witness;
	/* for this fork */
	u32 observe; /* enum source of its witness, BY_RULE for none */
	u32 agree;
	u32 disagree;
	u32 wanted;  /* somebody wants its event */
	u32 details; /* and each VMA's */
	struct row rows[ROWS];
};
#define NO_ROW 0xffffffff

/* One VMA at copy_page_range(), sent as the call returns. */
struct vma_event {
	u32 type; /* VMA_EVENT */
	u32 tid;
	u64 fork_start_ns; /* with tid, the fork it belongs to */
	u64 start;
	u64 end;
	u64 src_flags;
	u64 dst_flags;
	u64 copy_ns;
	u64 page_table_bytes;
	u64 run_delay;
	u64 pinned_bytes;
	u32 row;
	u32 copied;
	u32 source;
	u32 anon_vma;
};

/* Who called fork: the registers of user space and the stack from its pointer on, for
 * user space to unwind. Sent as the fork begins. */
struct stack_event {
	u32 type; /* STACK_EVENT */
	u32 tid;
	u64 fork_start_ns;
	u32 pid;
	u32 size; /* bytes of stack that could be read */
	u64 registers[REGISTERS];
	u8 stack[STACK_PIECES * STACK_PIECE];
};

/* A child that may yet throw away by exec what was copied for it; sent as it is when
 * it does and somebody listens. Or one of vfork (VFORK_EVENT), which copies nothing: it
 * shares its parent's mm, and holds the parent from when it is woken until it calls exec
 * or exits. That is sent, too, where it held the parent for long. */
struct child {
	u32 type; /* EXEC_EVENT or VFORK_EVENT */
	u32 pid;
	u32 parent;
	u32 wanted;
	u64 start_time; /* the task's own: tells a reused pid from this child */
	u64 forked_ns;
	u64 after_ns; /* from fork to exec; of vfork, to exec or exit */
	u64 copy_ns;
	u64 page_table_bytes;
	char comm[16]; /* the parent process' */
	/* of vfork only */
	char thread[16]; /* that of the thread which called */
	u64 cgroup; /* the parent's */
	u32 tid;
	u32 execs; /* it called exec, and did not exit */
};

/* Everything the metrics need, exact whatever user space does. */
struct totals {
	u64 forks_started; /* calls of kernel_clone() that are forks */
	u64 forks_ok;
	u64 forks_failed;
	u64 skip;
	u64 dontcopy;
	u64 wipeonfork; /* or missed by both probes of copy_page_range() */
	u64 fork_ns;
	u64 copy_ns;
	u64 last_event_ns;
	u64 tasks; /* that started, threads too */
	u64 discards; /* children that exec'd */
	u64 discarded_ns;
	u64 discarded_bytes;
	u64 run_delay;
	u64 vforks;
	u64 vfork_ns; /* that those held their parents which are over */
	u64 pinned_bytes;
	u64 failed[ERRNOS]; /* by errno; the last is ERESTARTNOINTR, 0 any other */
	u64 part_ns[PARTS];
	u64 part_buckets[PARTS][BUCKETS];
	u64 lost[LOST_STAGES];
	u64 agree[SOURCES];
	u64 disagree[SOURCES];
	u64 fork_buckets[BUCKETS];
	u64 copy_buckets[BUCKETS];
	/* the last VMA on which witness and rule disagreed */
	u64 odd_src_flags;
	u64 odd_dst_flags;
	u64 odd_anon_vma;
	u64 odd_copied;
	struct row rows[ROWS];
};

/* What user space asks for; read once at the start of each fork. */
struct config {
	u32 observe; /* enum source */
	u32 events;
	u32 details;
	u32 pids;    /* how many of each choice there are; 0: no choice */
	u32 comms;
	u32 cgroups; /* those of the map: in one of them, or below it */
	u64 event_gap_ns; /* at least so long between two events */
	u64 vfork_ns; /* how long a vfork must hold its parent for an event; 0: none is sent */
	u32 pid[CHOICES];
	char comm[CHOICES][16];
	u32 counting; /* whether every probe is there: only then is a fork without a
		       * slot one that was missed */
	u32 way; /* enum way */
	u32 parts; /* whether dup_mmap() can be followed */
	u32 stacks; /* somebody wants to know who called fork */
	u32 watch; /* the choices do not say whose events are sent, which are those of
		    * all, but whose details: of a fork that any of them fits */
	u32 watched_cgroups; /* how many there are: choices too, of the cgroup itself */
	u64 watched_cgroup[WATCHED_CGROUPS];
};

/* What the forks of the processes of one name, or of one cgroup, cost. */
struct cost {
	u64 key[2]; /* the name, or the cgroup's id */
	u64 taken;
	u64 turn; /* how often user space gave this place back */
	u64 forks;
	u64 copy_ns;
	u64 page_table_bytes;
	u64 discards;
	u64 discarded_ns;
	u64 discarded_bytes;
	u64 failed; /* of the forks */
	u64 vforks;
	u64 vfork_ns;
};

/* The same of a name, by trigger. */
struct comm_rows {
	struct row rows[ROWS];
};

/* What a cgroup and the one that it lies in are called, for when it is gone. */
struct cgroup_names {
	char own[CGROUP_NAME];
	char parent[CGROUP_NAME];
};

BPF_F_TABLE("array", int, struct fork_slot, slots, SLOTS, BPF_F_MMAPABLE);
/* Which of them are taken: of two CPUs that insert an index, one succeeds. */
BPF_HASH(slot_owners, int, u8, SLOTS);
/* Tasks in a fork that found no free slot. */
BPF_HASH(slotless, u64, u8, SLOTLESS);
BPF_F_TABLE("array", int, struct totals, totals, 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", int, struct config, config, 1, BPF_F_MMAPABLE);
BPF_CGROUP_ARRAY(cgroup, CHOICES);
/* For each kind of key COSTS places, found by hash, and one more for all the keys that
 * found none. */
BPF_F_TABLE("array", int, struct cost, costs, WHOSE * (COSTS + 1), BPF_F_MMAPABLE);
/* Which of them are taken, as for the slots, and in which turn. */
BPF_HASH(cost_owners, u32, u8, 2 * WHOSE * COSTS);
/* Of the places of names, and of cgroups. */
BPF_F_TABLE("array", int, struct comm_rows, comm_rows, COSTS + 1, BPF_F_MMAPABLE);
BPF_F_TABLE("array", int, struct cgroup_names, cgroup_names, COSTS + 1, BPF_F_MMAPABLE);
BPF_HASH(children, u32, struct child, CHILDREN);
/* Of one page: who loads it decides how large it is. */
BPF_RINGBUF_OUTPUT(events, 1);

/* Memory of the kernel. fentry programs may load directly, with the verifier checking
 * each load against BTF; LOAD() asks the constant `way` of the function it stands in. */
#define READ(size, ptr, offset)                                                    \
	({                                                                         \
		u##size _value = 0;                                                \
		bpf_probe_read_kernel(&_value, sizeof(_value),                     \
				      (char *)(ptr) + (offset));                   \
		_value;                                                            \
	})
/* For a loop that seldom runs: unrolled it would only take longer to compile. */
#define ROLLED _Pragma("clang loop unroll(disable)")
/* For one whose counter the verifier would lose sight of (seen on Linux 6.1). */
#define UNROLLED _Pragma("clang loop unroll(full)")

#define LOAD(size, ptr, offset)                                                    \
	(way == BY_FENTRY ? *(volatile u##size *)((char *)(ptr) + (offset)) :      \
			    READ(size, ptr, offset))

/* How long, in ns, the current task has ever been ready to run without a CPU: it was
 * preempted, or woken. The second number of /proc/PID/schedstat. */
static __always_inline u64 run_delay(void)
{
#ifdef OFF_TASK_RUN_DELAY
	return READ(64, bpf_get_current_task(), OFF_TASK_RUN_DELAY);
#else
	return 0;
#endif
}

static __always_inline void add(u64 *sum, u64 value)
{
	__sync_fetch_and_add(sum, value);
}

static __always_inline struct totals *sums(void)
{
	int zero = 0;
	return totals.lookup(&zero);
}

static __always_inline void lose(enum lost stage)
{
	struct totals *sum = sums();
	if (sum)
		add(&sum->lost[stage], 1);
}

/* ------------------------------------------------------------------ slots -- */

/* The k-th place where the slot of a task may lie. No two tasks begin on one page. */
static __always_inline int place(u64 task, int k)
{
	return ((task >> 12) + k * (SLOTS / PROBES + 1)) & (SLOTS - 1);
}

/* The slot of the fork that the current task is in. Found by task_struct and not by its
 * id: newer kernels read that pointer without a call. */
static __always_inline struct fork_slot *find(void)
{
	u64 task = bpf_get_current_task();
	int first = place(task, 0);
	struct fork_slot *slot = slots.lookup(&first);

	if (slot && slot->task == task)
		return slot;
	ROLLED
	for (int k = 1; k < PROBES; k++) {
		int index = place(task, k);
		slot = slots.lookup(&index);
		if (slot && slot->task == task)
			return slot;
	}
	return 0;
}

/* Take a free slot, or 0 when others took all places where ours may lie. */
static __always_inline struct fork_slot *claim(void)
{
	u64 task = bpf_get_current_task();
	u8 yes = 1;

	ROLLED
	for (int k = 0; k < PROBES; k++) {
		int index = place(task, k);
		struct fork_slot *slot = slots.lookup(&index);
		if (!slot || slot->task || slot_owners.insert(&index, &yes))
			continue;
		slot->index = index;
		slot->task = task;
		return slot;
	}
	lose(LOST_FORK_SLOT);
	slotless.update(&task, &yes);
	return 0;
}

static __always_inline void release(struct fork_slot *slot)
{
	int index = slot->index;

	slot->task = 0;
	slot_owners.delete(&index);
}

/* ------------------------------------------------------------------- forks -- */

static __always_inline bool same_comm(const char *a, const char *b)
{
	return *(u64 *)a == *(u64 *)b && *(u64 *)(a + 8) == *(u64 *)(b + 8);
}

/* Whether a fork is among those asked for: one loop for each choice, as the verifier
 * follows every combination of what a loop may find. */
static __always_inline bool chosen_pid(struct config *want, u32 pid)
{
	ROLLED
	for (int i = 0; i < CHOICES && i < want->pids; i++)
		if (want->pid[i] == pid)
			return true;
	return !want->pids;
}

static __always_inline bool chosen_comm(struct config *want, const char *comm,
					const char *thread)
{
	ROLLED
	for (int i = 0; i < CHOICES && i < want->comms; i++)
		if (same_comm(want->comm[i], comm) || same_comm(want->comm[i], thread))
			return true;
	return !want->comms;
}

static __always_inline bool chosen_cgroup(struct config *want)
{
	ROLLED
	for (int i = 0; i < CHOICES && i < want->cgroups; i++)
		if (cgroup.check_current_task(i) > 0)
			return true;
	return !want->cgroups;
}

static __always_inline bool chosen(struct config *want, u32 pid, const char *comm,
				   const char *thread)
{
	return want->events && chosen_pid(want, pid) &&
	       chosen_comm(want, comm, thread) && chosen_cgroup(want);
}

/* Whether a fork is by a process that somebody watches. */
static __always_inline bool watched(struct config *want, struct fork_slot *slot)
{
	ROLLED
	for (int i = 0; i < WATCHED_CGROUPS && i < want->watched_cgroups; i++)
		if (want->watched_cgroup[i] == slot->cgroup)
			return true;
	return (want->pids && chosen_pid(want, slot->pid)) ||
	       (want->comms && chosen_comm(want, slot->comm, slot->thread));
}

static __always_inline void choose(struct fork_slot *slot, struct config *want)
{
	bool ours = want->watch ? watched(want, slot) :
				  chosen(want, slot->pid, slot->comm, slot->thread);

	slot->wanted = ours || (want->watch && want->events);
	slot->details = ours && want->details;
	slot->observe = want->observe;
}

/* Whoever only wants samples gets no more than he asked for, but for forks that he wants
 * in detail. */
static __always_inline bool due(struct totals *sum)
{
	int zero = 0;
	struct config *want = config.lookup(&zero);
	u64 now;

	if (!want || !want->event_gap_ns)
		return true;
	now = bpf_ktime_get_ns();
	if (now - sum->last_event_ns < want->event_gap_ns)
		return false;
	sum->last_event_ns = now;
	return true;
}

/* The names of the current task's cgroup, if it is still the one that is meant. */
static __always_inline void name_cgroup(int place, u64 id)
{
#ifdef OFF_KERNFS_NAME
	struct cgroup_names *names = cgroup_names.lookup(&place);
	u64 set = READ(64, bpf_get_current_task(), OFF_TASK_CGROUPS);
	u64 node = READ(64, READ(64, set, OFF_CSS_SET_CGROUP), OFF_CGROUP_KN);
	u64 parent = READ(64, node, OFF_KERNFS_PARENT);

	if (!names)
		return;
	names->own[0] = names->parent[0] = 0;
	if (bpf_get_current_cgroup_id() != id)
		return;
	bpf_probe_read_kernel_str(names->own, CGROUP_NAME,
				  (void *)READ(64, node, OFF_KERNFS_NAME));
	if (parent)
		bpf_probe_read_kernel_str(names->parent, CGROUP_NAME,
					  (void *)READ(64, parent, OFF_KERNFS_NAME));
#endif
}

/* Make a place that nobody has the place of `key`: of two CPUs that try, one succeeds.
 * What the place held before was given back by user space. */
static __always_inline bool take(struct cost *cost, int index, const u64 *key)
{
	u32 owner = index | cost->turn << 16;
	u8 yes = 1;

	if (cost->taken || cost_owners.insert(&owner, &yes))
		return false;
	if (cost->turn) {
		owner = index | (cost->turn - 1) << 16;
		cost_owners.delete(&owner);
	}
	cost->key[0] = key[0];
	cost->key[1] = key[1];
	cost->forks = cost->copy_ns = cost->page_table_bytes = 0;
	cost->discards = cost->discarded_ns = cost->discarded_bytes = 0;
	cost->failed = cost->vforks = cost->vfork_ns = 0;
	return true;
}

/* Where the forks of a name or cgroup are added up: its own place, or the last one of
 * its kind, shared, when others took all places where it may lie. A key may get two
 * places when it is new on two CPUs at once; user space adds them up. */
static __always_inline int place_of(const enum whose whose, const u64 *key)
{
	u64 hash = (key[0] ^ key[1] * 31) * 0x9e3779b97f4a7c15ULL;

	ROLLED
	for (int k = 0; k < COST_PROBES; k++) {
		int place = ((hash >> 48) + k) & (COSTS - 1);
		int index = whose * (COSTS + 1) + place;
		struct cost *cost = costs.lookup(&index);
		if (!cost)
			continue;
		if (cost->taken && cost->key[0] == key[0] && cost->key[1] == key[1])
			return place;
		if (!take(cost, index, key))
			continue;
		if (whose == BY_CGROUP)
			name_cgroup(place, key[0]);
		cost->taken = 1;
		return place;
	}
	return COSTS;
}

static __always_inline struct cost *cost_at(const enum whose whose, int place)
{
	int index = whose * (COSTS + 1) + place;

	return costs.lookup(&index);
}

static __always_inline void charge(struct cost *cost, struct fork_slot *slot, u64 bytes)
{
	if (!cost)
		return;
	add(&cost->forks, 1);
	add(&cost->failed, slot->ret < 0);
	add(&cost->copy_ns, slot->copy_ns);
	add(&cost->page_table_bytes, bytes);
}

static __always_inline void add_row(struct row *sum, struct row *row)
{
	add(&sum->vmas, row->vmas);
	add(&sum->copy_ns, row->copy_ns);
	add(&sum->page_table_bytes, row->page_table_bytes);
}

static __always_inline void count(u64 *buckets, u64 ns)
{
	u64 bucket = BUCKET_OF(ns);

	/* Keeps the compiler from checking one register and indexing by another,
	 * which the verifier does not follow. */
	asm volatile("" : "+r"(bucket));
	if (bucket < BUCKETS)
		add(&buckets[bucket], 1);
}

/* A call of copy_page_range() whose return was missed: what it took is not known.
 * Between two calls nothing else adds to the child's page tables, so that their growth is
 * known while the child's mm lives. */
static __always_inline void finish_copy(struct fork_slot *slot, bool mm_lives)
{
	u64 row = slot->row, now;

	if (!slot->inside)
		return;
	slot->inside = 0;
	lose(LOST_COPY_RETURN);
	if (row == NO_ROW) {
		slot->skipped++;
		return;
	}
	lose(LOST_COPY_TIME);
	asm volatile("" : "+r"(row)); /* as in count() */
	if (row >= ROWS)
		return;
	slot->rows[row].vmas++;
	if (!mm_lives)
		return;
	now = READ(64, slot->dst_mm, OFF_MM_PGTABLES_BYTES);
	slot->rows[row].page_table_bytes += now - slot->page_tables;
	slot->page_tables = now;
}

/* Add to the totals what was copied. No copy of this fork comes any more. */
static __always_inline void settle(struct fork_slot *slot, struct totals *sum)
{
	u64 bytes = 0, group[2] = { slot->cgroup, 0 };
	int place = place_of(BY_COMM, (u64 *)slot->comm);
	struct comm_rows *ours = comm_rows.lookup(&place);

	if (!ours)
		return;
	for (int i = 0; i < ROWS; i++) {
		struct row *row = &slot->rows[i];
		if (!row->vmas)
			continue;
		slot->copy_ns += row->copy_ns;
		bytes += row->page_table_bytes;
		add_row(&sum->rows[i], row);
		add_row(&ours->rows[i], row);
	}
	add(&sum->skip, slot->skipped);
	if (slot->pinned_bytes)
		add(&sum->pinned_bytes, slot->pinned_bytes);
	add(&sum->copy_ns, slot->copy_ns);
	count(sum->copy_buckets, slot->copy_ns);
	if (slot->observe == BY_RETURN) {
		add(&sum->agree[BY_RETURN], slot->agree);
		add(&sum->disagree[BY_RETURN], slot->disagree);
	} else if (slot->observe == BY_BRANCH) {
		add(&sum->agree[BY_BRANCH], slot->agree);
		add(&sum->disagree[BY_BRANCH], slot->disagree);
	}
	charge(cost_at(BY_COMM, place), slot, bytes);
	charge(cost_at(BY_CGROUP, place_of(BY_CGROUP, group)), slot, bytes);
}

/* Divide the time of a fork that ends at `now` into its parts. One that fails may not
 * get as far as dup_mmap(), or not get the lock; of any other all three are seen. */
static __always_inline void divide(struct fork_slot *slot, struct totals *sum, u64 now)
{
	u64 lock = slot->lock_ns ? slot->lock_ns : now;
	u64 locked = slot->locked_ns ? slot->locked_ns : now;
	u64 mapped = slot->mapped_ns ? slot->mapped_ns : locked;

	if (!slot->mapped_ns && (slot->ret > 0 || slot->calls)) {
		add(&sum->lost[LOST_FORK_PARTS], 1);
		return;
	}
	slot->parts[SETUP] = lock - slot->start_ns;
	slot->parts[MMAP_LOCK] = locked - lock;
	slot->parts[VMAS] = mapped - locked - slot->copy_ns;
	slot->parts[COPYING] = slot->copy_ns;
	slot->parts[FINISH] = now - mapped;
	UNROLLED
	for (int i = 0; i < PARTS; i++) {
		add(&sum->part_ns[i], slot->parts[i]);
		count(sum->part_buckets[i], slot->parts[i]);
	}
}

/* A fork that is settled ends at `now`. */
static __always_inline void end_fork(struct fork_slot *slot, struct totals *sum, u64 now)
{
	int zero = 0;
	struct config *want = config.lookup(&zero);

	slot->duration_ns = now - slot->start_ns;
	slot->run_delay = run_delay() - slot->run_delay;
	/* Where the end was missed the task has gone on, and waited, since. */
	if (slot->run_delay > slot->duration_ns)
		slot->run_delay = 0;
	add(&sum->run_delay, slot->run_delay);
	add(&sum->fork_ns, slot->duration_ns);
	count(sum->fork_buckets, slot->duration_ns);
	if (want && want->parts)
		divide(slot, sum, now);
	if (slot->wanted && (slot->details || due(sum)) &&
	    events.ringbuf_output(slot, sizeof(*slot), 0))
		add(&sum->lost[LOST_FORK_EVENT], 1);
	release(slot);
}

/* The current task is in no fork any more and still has a slot: the end of that fork was
 * missed. It is taken to have ended when its child was made. Without a child nobody
 * knows what became of it, and of its copies only how many there were. */
static __always_inline void abandon(struct fork_slot *slot, struct totals *sum)
{
	if (slot->ret > 0) {
		lose(LOST_FORK_RETURN);
		end_fork(slot, sum, slot->start_ns + slot->duration_ns);
		return;
	}
	lose(LOST_FORK_OUTCOME);
	/* Those whose start was missed are counted already. */
	add(&sum->lost[LOST_COPY], slot->calls - slot->unknown);
	release(slot);
}

/* The name of the current task's process: that of its first thread. Not every kernel
 * keeps zeros behind the NUL. */
static __always_inline void name_process(char *comm)
{
	u64 leader = READ(64, bpf_get_current_task(), OFF_TASK_GROUP_LEADER);

	__builtin_memset(comm, 0, 16);
	bpf_probe_read_kernel_str(comm, 16, (char *)leader + OFF_TASK_COMM);
}

/* Piece by piece: one read fails as a whole where the stack ends, or is not there. */
static __always_inline void send_stack(struct fork_slot *slot)
{
#ifdef HAS_TASK_PT_REGS
	struct stack_event *event = events.ringbuf_reserve(sizeof(*event));
	void *registers;
	u64 sp;

	if (!event) {
		lose(LOST_STACK_EVENT);
		return;
	}
	registers = (void *)bpf_task_pt_regs(bpf_get_current_task_btf());
	bpf_probe_read_kernel(event->registers, sizeof(event->registers), registers);
	event->type = STACK_EVENT;
	event->tid = slot->tid;
	event->pid = slot->pid;
	event->fork_start_ns = slot->start_ns;
	event->size = 0;
	sp = event->registers[SP];
	UNROLLED
	for (int i = 0; i < STACK_PIECES; i++) {
		if (bpf_probe_read_user(event->stack + i * STACK_PIECE, STACK_PIECE,
					(void *)(sp + i * STACK_PIECE)))
			break;
		event->size = (i + 1) * STACK_PIECE;
	}
	events.ringbuf_submit(event, 0);
#endif
}

static __always_inline int fork_enters(u64 clone_flags)
{
	u64 id, now;
	int zero = 0;
	struct config *want = config.lookup(&zero);
	struct totals *sum = sums();
	struct fork_slot *slot;

	if (!want || !sum)
		return 0;
	slot = find();
	if (slot)
		abandon(slot, sum);
	/* Threads, vfork and posix_spawn share the mm: no page tables to copy. */
	if (clone_flags & CLONE_VM)
		return 0;
	now = bpf_ktime_get_ns();
	id = bpf_get_current_pid_tgid();
	add(&sum->forks_started, 1);
	slot = claim();
	if (!slot)
		return 0;
	slot->type = FORK_EVENT;
	slot->tid = id;
	slot->pid = id >> 32;
	slot->child_pid = 0;
	slot->ret = 0;
	slot->start_ns = now;
	slot->way = want->way;
	slot->cgroup = bpf_get_current_cgroup_id();
	name_process(slot->comm);
	bpf_get_current_comm(slot->thread, sizeof(slot->thread));
	for (int i = 0; i < PARTS; i++)
		slot->parts[i] = 0;
	slot->copy_ns = slot->lock_ns = slot->locked_ns = slot->mapped_ns = 0;
	slot->run_delay = run_delay();
	slot->pinned_bytes = slot->told_pinned = 0;
	slot->parent_vmas = 0;
	slot->child_vmas = 0;
	slot->calls = 0;
	slot->skipped = 0;
	slot->unknown = 0;
	slot->late = 0;
	slot->page_tables = 0;
	slot->dst_mm = 0;
	slot->inside = 0;
	slot->agree = 0;
	slot->disagree = 0;
	for (int i = 0; i < ROWS; i++) {
		if (!slot->rows[i].vmas)
			continue;
		slot->rows[i].vmas = 0;
		slot->rows[i].copy_ns = 0;
		slot->rows[i].page_table_bytes = 0;
	}
	choose(slot, want);
	if (slot->wanted && want->stacks)
		send_stack(slot);
	return 0;
}

static __always_inline void expect_exec(struct fork_slot *slot, u64 task)
{
	struct child child = {
		.type = EXEC_EVENT,
		.pid = slot->child_pid,
		.parent = slot->pid,
		.wanted = slot->wanted,
		.forked_ns = slot->start_ns,
	};

	for (int i = 0; i < ROWS; i++) {
		child.copy_ns += slot->rows[i].copy_ns;
		child.page_table_bytes += slot->rows[i].page_table_bytes;
	}
	__builtin_memcpy(child.comm, slot->comm, sizeof(child.comm));
	child.start_time = READ(64, task, OFF_TASK_START_TIME);
	if (children.update(&child.pid, &child))
		lose(LOST_EXEC_CHILD);
}

/* A child of vfork or posix_spawn is about to run in its parent's mm. */
static __always_inline void begin_vfork(struct totals *sum, struct config *want,
					u64 task)
{
	struct child child = { .type = VFORK_EVENT };
	struct cost *cost;
	u64 id = bpf_get_current_pid_tgid();

	child.pid = READ(32, task, OFF_TASK_PID);
	child.parent = id >> 32;
	child.start_time = READ(64, task, OFF_TASK_START_TIME);
	name_process(child.comm);
	if (want->vfork_ns) {
		child.tid = id;
		child.cgroup = bpf_get_current_cgroup_id();
		bpf_get_current_comm(child.thread, sizeof(child.thread));
		child.wanted = chosen(want, child.parent, child.comm, child.thread);
	}
	add(&sum->vforks, 1);
	cost = cost_at(BY_COMM, place_of(BY_COMM, (u64 *)child.comm));
	if (cost)
		add(&cost->vforks, 1);
	child.forked_ns = bpf_ktime_get_ns();
	if (children.update(&child.pid, &child))
		lose(LOST_EXEC_CHILD);
}

/* The child that the current task is, if its parent's fork or vfork was followed. A
 * reused pid is not that child. */
static __always_inline struct child *find_child(u32 pid)
{
	struct child *child = children.lookup(&pid);
	u64 started = READ(64, bpf_get_current_task(), OFF_TASK_START_TIME);

	return child && child->start_time == started ? child : 0;
}

/* It calls exec or exits: its parent goes on. */
static __always_inline void end_vfork(struct totals *sum, struct child *child,
				      bool execs)
{
	u64 held = bpf_ktime_get_ns() - child->forked_ns;
	struct cost *cost = cost_at(BY_COMM, place_of(BY_COMM, (u64 *)child->comm));
	int zero = 0;
	struct config *want = config.lookup(&zero);

	add(&sum->vfork_ns, held);
	if (cost)
		add(&cost->vfork_ns, held);
	if (!child->wanted || !want || held < want->vfork_ns || !due(sum))
		return;
	child->after_ns = held;
	child->execs = execs;
	if (events.ringbuf_output(child, sizeof(*child), 0))
		add(&sum->lost[LOST_VFORK_EVENT], 1);
}

/* wake_up_new_task() is called by the parent before the child can run, so that what the
 * child's mm holds now is what the fork gave it. A thread shares its parent's, a
 * kernel thread has none. */
int child_made(struct pt_regs *ctx)
{
	int zero = 0;
	struct config *want = config.lookup(&zero);
	struct totals *sum = sums();
	struct fork_slot *slot;
	u64 task = bpf_get_current_task();
	u64 child = PT_REGS_PARM1(ctx);
	u64 mm = READ(64, child, OFF_TASK_MM);

	if (!sum || !want)
		return 0;
	add(&sum->tasks, 1);
	slot = find();
	if (!mm || mm == READ(64, task, OFF_TASK_MM)) {
		if (slot)
			slot->late = 1;
		if (mm && READ(64, child, OFF_TASK_VFORK_DONE))
			begin_vfork(sum, want, child);
		return 0;
	}
	if (!slot && !want->counting)
		return 0;
	add(&sum->forks_ok, 1);
	if (!slot) {
		if (slotless.delete(&task))
			lose(LOST_FORK_ENTRY);
		return 0;
	}
	finish_copy(slot, true);
	slot->child_pid = READ(32, child, OFF_TASK_PID);
	slot->ret = slot->child_pid;
	/* Stands until the end is seen. */
	slot->duration_ns = bpf_ktime_get_ns() - slot->start_ns;
	slot->child_vmas = READ(32, mm, OFF_MM_MAP_COUNT);
	if (!slot->parent_vmas)
		/* Every VMA was DONTCOPY or WIPEONFORK. */
		slot->parent_vmas = slot->child_vmas;
	add(&sum->dontcopy, slot->parent_vmas - slot->child_vmas);
	add(&sum->wipeonfork, slot->child_vmas - slot->calls);
	settle(slot, sum);
	expect_exec(slot, child);
	return 0;
}

/* wake_up_new_task() returns: all of fork() is over but for a few instructions, also
 * where the parent then waits for the child's exec (CLONE_VFORK) or for a debugger. */
int fork_return(struct pt_regs *ctx)
{
	struct fork_slot *slot = find();
	struct totals *sum = sums();

	if (!slot || !sum || slot->late)
		return 0;
	if (slot->ret <= 0) {
		/* child_made() was missed: the fork counts all the same, but what it
		 * gave the child's mm is not known. */
		add(&sum->forks_ok, 1);
		lose(LOST_FORK_CHILD);
		finish_copy(slot, false);
		slot->ret = 1;
		slot->parent_vmas = slot->child_vmas = slot->calls;
		settle(slot, sum);
	}
	end_fork(slot, sum, bpf_ktime_get_ns());
	return 0;
}

/* copy_process() returns the new task or an error. */
int fork_fails(struct pt_regs *ctx)
{
	s64 ret = PT_REGS_RC(ctx);
	u64 task = bpf_get_current_task();
	struct fork_slot *slot;
	struct totals *sum = sums();

	if (!sum || ret >= 0 || ret < -MAX_ERRNO)
		return 0;
	slot = find();
	if (slot || !slotless.delete(&task)) {
		u64 number = ret == -ERESTARTNOINTR ? ERRNOS - 1 : -ret;
		add(&sum->forks_failed, 1);
		if (number >= ERRNOS)
			number = 0;
		asm volatile("" : "+r"(number)); /* as in count() */
		if (number < ERRNOS)
			add(&sum->failed[number], 1);
	}
	if (!slot)
		return 0;
	slot->ret = ret;
	finish_copy(slot, false);
	settle(slot, sum);
	end_fork(slot, sum, bpf_ktime_get_ns());
	return 0;
}

/* dup_mmap() calls three functions for uprobes: one before it waits for the parent's
 * mmap_lock, one once it has it, and one when it is done (Linux 3.8, commits 32cdba1e0541
 * and f8ac4ec9c064). The order tells which one this is. */
int fork_advances(struct pt_regs *ctx)
{
	struct fork_slot *slot = find();
	u64 now = bpf_ktime_get_ns();

	if (!slot)
		return 0;
	if (!slot->lock_ns)
		slot->lock_ns = now;
	else if (!slot->locked_ns)
		slot->locked_ns = now;
	else
		slot->mapped_ns = now;
	return 0;
}

/* do_exit(): this task is in no fork any more, nor will it exec. */
int task_exits(struct pt_regs *ctx)
{
	struct fork_slot *slot = find();
	struct totals *sum = sums();
	u64 id = bpf_get_current_pid_tgid();
	u64 task = bpf_get_current_task();
	u32 pid = id >> 32;
	struct child *child;

	if (slot && sum)
		abandon(slot, sum);
	slotless.delete(&task);
	if (pid != (u32)id)
		return 0;
	child = find_child(pid);
	if (child && child->type == VFORK_EVENT && sum)
		end_vfork(sum, child, false);
	children.delete(&pid);
	return 0;
}

/* setup_new_exec(): this task has a new mm, and what fork copied for it is gone. */
int child_execs(struct pt_regs *ctx)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct child *child = find_child(pid);
	struct totals *sum = sums();
	struct cost *cost;

	if (!child || !sum)
		goto out;
	if (child->type == VFORK_EVENT) {
		end_vfork(sum, child, true);
		goto out;
	}
	add(&sum->discards, 1);
	add(&sum->discarded_ns, child->copy_ns);
	add(&sum->discarded_bytes, child->page_table_bytes);
	cost = cost_at(BY_COMM, place_of(BY_COMM, (u64 *)child->comm));
	if (cost) {
		add(&cost->discards, 1);
		add(&cost->discarded_ns, child->copy_ns);
		add(&cost->discarded_bytes, child->page_table_bytes);
	}
	child->after_ns = bpf_ktime_get_ns() - child->forked_ns;
	if (child->wanted && due(sum) &&
	    events.ringbuf_output(child, sizeof(*child), 0))
		add(&sum->lost[LOST_EXEC_EVENT], 1);
out:
	children.delete(&pid);
	return 0;
}

/* ------------------------------------------------------------ VMA by VMA -- */

/* Whether src has an anon_vma. The barrier keeps the compiler from doing arithmetic
 * on the pointer, which the verifier forbids. */
static __always_inline u64 has_anon_vma(const enum way way, void *src)
{
	u64 has = LOAD(64, src, OFF_VMA_ANON_VMA) != 0;

	asm volatile("" : "+r"(has));
	return has;
}

/* Note a call of copy_page_range() and what the rule says of it. */
static __always_inline void begin_copy(const enum way way, struct fork_slot *slot,
				       void *dst, void *src)
{
	u64 src_flags, anon_vma, bits = 0;

	if (!slot->dst_mm) {
		void *src_mm = (void *)LOAD(64, src, OFF_VMA_MM);
		void *dst_mm = (void *)LOAD(64, dst, OFF_VMA_MM);
		slot->parent_vmas = LOAD(32, src_mm, OFF_MM_MAP_COUNT);
		slot->dst_mm = (u64)dst_mm;
	}
	slot->calls++;
	slot->inside = 1;
	if (slot->observe)
		slot->witness = slot->observe == BY_BRANCH ? SKIP : UNSEEN;
	src_flags = LOAD(64, src, OFF_VMA_FLAGS);
	anon_vma = has_anon_vma(way, src);
	/* dst's flags are a subset of src's: dup_userfaultfd() only clears. */
	if (src_flags & (DST_MASK | SRC_MASK)) {
		bits = src_flags & SRC_MASK;
		if (DST_MASK)
			bits |= LOAD(64, dst, OFF_VMA_FLAGS) & DST_MASK;
	}
	if (bits)
		slot->row = ROW_OF(bits) * 2 + anon_vma;
	else
		slot->row = anon_vma ? 1 : NO_ROW;
}

/* The fork that the current task is in, if these programs are to follow it. */
static __always_inline struct fork_slot *find_by(const enum way way)
{
	struct fork_slot *slot = find();

	return slot && slot->way == way ? slot : 0;
}

static __always_inline int copy_enters(const enum way way, void *dst, void *src)
{
	struct fork_slot *slot = find_by(way);

	if (!slot)
		return 0;
	finish_copy(slot, true);
	begin_copy(way, slot, dst, src);
	if (way == BY_KPROBE) {
		slot->src = (u64)src;
		slot->dst = (u64)dst;
	}
	if (slot->details)
		slot->copy_delay = run_delay();
	if (slot->row != NO_ROW)
		slot->copy_start_ns = bpf_ktime_get_ns();
	return 0;
}

static __always_inline void disagree(const enum way way, struct fork_slot *slot,
				     void *dst, void *src, bool copied)
{
	struct totals *sum = sums();

	slot->disagree++;
	if (!sum)
		return;
	sum->odd_src_flags = LOAD(64, src, OFF_VMA_FLAGS);
	sum->odd_dst_flags = LOAD(64, dst, OFF_VMA_FLAGS);
	sum->odd_anon_vma = has_anon_vma(way, src);
	sum->odd_copied = copied;
}

static __always_inline u64 page_tables(const enum way way, struct fork_slot *slot,
				       void *dst)
{
	if (way == BY_FENTRY)
		return LOAD(64, LOAD(64, dst, OFF_VMA_MM), OFF_MM_PGTABLES_BYTES);
	return READ(64, slot->dst_mm, OFF_MM_PGTABLES_BYTES);
}

/* The witness's word where there is one, else the rule's. */
static __always_inline bool decide(const enum way way, struct fork_slot *slot,
				   void *dst, void *src)
{
	bool rule = slot->row != NO_ROW;
	bool copied;

	if (!slot->observe)
		return rule;
	/* At a branch a skip shows by silence alone. But nobody allocates page tables to
	 * copy nothing: then the probe was not run. */
	if (slot->observe == BY_BRANCH && slot->witness == SKIP && rule &&
	    page_tables(way, slot, dst) != slot->page_tables)
		slot->witness = UNSEEN;
	if (slot->witness == UNSEEN) {
		lose(LOST_WITNESS);
		return rule;
	}
	copied = slot->witness == COPY;
	if (copied == rule)
		slot->agree++;
	else
		disagree(way, slot, dst, src, copied);
	return copied;
}

static __always_inline void describe(const enum way way, struct fork_slot *slot,
				     void *dst, void *src, bool copied, u64 row,
				     u64 copy_ns, u64 bytes)
{
	struct vma_event event = {
		.type = VMA_EVENT,
		.tid = slot->tid,
		.fork_start_ns = slot->start_ns,
		.start = LOAD(64, src, OFF_VMA_START),
		.end = LOAD(64, src, OFF_VMA_END),
		.src_flags = LOAD(64, src, OFF_VMA_FLAGS),
		.dst_flags = LOAD(64, dst, OFF_VMA_FLAGS),
		.copy_ns = copy_ns,
		.page_table_bytes = bytes,
		.run_delay = copy_ns ? run_delay() - slot->copy_delay : 0,
		.pinned_bytes = slot->pinned_bytes - slot->told_pinned,
		.row = row,
		.copied = copied,
		.source = slot->observe && slot->witness != UNSEEN ? slot->observe :
								     BY_RULE,
		.anon_vma = has_anon_vma(way, src),
	};
	slot->told_pinned = slot->pinned_bytes;
	if (events.ringbuf_output(&event, sizeof(event), 0))
		lose(LOST_VMA_EVENT);
}

static __always_inline int copy_leaves(const enum way way, struct fork_slot *slot,
				       void *dst, void *src)
{
	u64 now, row, copy_ns = 0, bytes = 0;

	slot->inside = 0;
	row = slot->row;
	if (!decide(way, slot, dst, src)) {
		slot->skipped++;
		if (slot->details)
			describe(way, slot, dst, src, false, 0, 0, 0);
		return 0;
	}
	if (row == NO_ROW)
		/* The rule did not foresee this copy: no trigger, no start time. */
		row = slot->copy_start_ns = 0;
	if (slot->copy_start_ns)
		copy_ns = bpf_ktime_get_ns() - slot->copy_start_ns;
	else
		lose(LOST_COPY_TIME);
	now = page_tables(way, slot, dst);
	bytes = now - slot->page_tables;
	slot->page_tables = now;
	asm volatile("" : "+r"(row)); /* as in count() */
	if (row < ROWS) {
		slot->rows[row].vmas++;
		slot->rows[row].copy_ns += copy_ns;
		slot->rows[row].page_table_bytes += bytes;
	}
	if (slot->details)
		describe(way, slot, dst, src, true, row, copy_ns, bytes);
	return 0;
}

/* ------------------------------------------------------------- witnesses -- */

/* vma_needs_copy() returns; a compiler's variant of it has other arguments, but the
 * same bool in the return register. */
int witness_return(struct pt_regs *ctx)
{
	struct fork_slot *slot = find();

	if (slot && slot->inside)
		slot->witness = (PT_REGS_RC(ctx) & 0xff) ? COPY : SKIP;
	return 0;
}

/* The first instruction of the path that copies, inside copy_page_range(). */
int witness_branch(struct pt_regs *ctx)
{
	struct fork_slot *slot = find();

	if (slot && slot->inside)
		slot->witness = COPY;
	return 0;
}

/* ----------------------------------------------------------- pinned pages -- */

/* A page that a device may write to must stay the parent's: fork gives the child a copy
 * at once (Linux 5.9, commit 70e806e4e645). This hangs on the instruction within
 * copy_page_range() that calls for such a copy's rmap, which nothing else runs. */
int page_copied(struct pt_regs *ctx)
{
	struct fork_slot *slot = find();

	if (slot)
		slot->pinned_bytes += PAGE_BYTES;
	return 0;
}

/* The same of hugetlb, whose pages get their rmap by a function of their own, called for
 * each new one. The inode's block is as large as the page. */
int huge_page_copied(struct pt_regs *ctx)
{
#ifdef OFF_INODE_BLKBITS
	struct fork_slot *slot = find();
	u64 file, inode;

	if (!slot || !slot->inside)
		return 0;
	file = READ(64, PT_REGS_PARM2(ctx), OFF_VMA_FILE);
	inode = READ(64, file, OFF_FILE_INODE);
	slot->pinned_bytes += 1ULL << (READ(8, inode, OFF_INODE_BLKBITS) & 63);
#endif
	return 0;
}

/* -------------------------------------------------------- where to attach -- */

int fork_entry(struct pt_regs *ctx)
{
	return fork_enters(READ(64, PT_REGS_PARM1(ctx), OFF_CLONE_FLAGS));
}

/* BCC's own macros: how it names these programs differs between its versions. */
KFUNC_PROBE(copy_page_range, void *dst, void *src)
{
	return copy_enters(BY_FENTRY, dst, src);
}

KRETFUNC_PROBE(copy_page_range, void *dst, void *src)
{
	struct fork_slot *slot = find_by(BY_FENTRY);

	if (!slot)
		return 0;
	if (!slot->inside) {
		lose(LOST_COPY_ENTRY);
		begin_copy(BY_FENTRY, slot, dst, src);
		slot->copy_start_ns = 0;
		/* Whatever the witness saw belonged to no call. */
		slot->witness = UNSEEN;
	}
	return copy_leaves(BY_FENTRY, slot, dst, src);
}

int copy_entry(struct pt_regs *ctx)
{
	return copy_enters(BY_KPROBE, (void *)PT_REGS_PARM1(ctx),
			   (void *)PT_REGS_PARM2(ctx));
}

int copy_return(struct pt_regs *ctx)
{
	struct fork_slot *slot = find_by(BY_KPROBE);

	if (!slot)
		return 0;
	if (!slot->inside) {
		/* Which VMA this was is not known here, nor its mm before the first. */
		lose(LOST_COPY_ENTRY);
		lose(LOST_COPY);
		slot->calls++;
		slot->unknown++;
		if (slot->dst_mm)
			slot->page_tables = page_tables(BY_KPROBE, slot, 0);
		return 0;
	}
	return copy_leaves(BY_KPROBE, slot, (void *)slot->dst, (void *)slot->src);
}
