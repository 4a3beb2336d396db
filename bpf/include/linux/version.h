/* BCC only asks whether the kernel is newer than 4.7, and forktrace needs 5.10. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 10, 0)
