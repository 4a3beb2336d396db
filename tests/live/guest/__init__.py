"""What must hold on a real kernel; runs inside a guest, as root, once a kernel."""
