/* BCC includes this; forktrace uses nothing of it. */
