/* The one option BCC asks about. */
#define CONFIG_BPF_SYSCALL 1
