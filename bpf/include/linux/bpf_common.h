/* BCC includes this; its own copy of bpf.h has all that is needed. */
