/* The kernel's BPF interface as BCC carries it. */
#include "/virtual/include/bcc/bpf.h"
