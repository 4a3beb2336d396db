/* BCC sizes perf buffers by this; forktrace has none. */
#define PAGE_SIZE 4096
