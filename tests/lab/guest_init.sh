#!/bin/busybox sh
# Process 1 of a guest. First in the initramfs: load modules, mount the host's root
# read-only, put a tmpfs wherever the guest may write. Then, with that as the root,
# run the job and say how it ended. If anything here fails, process 1 ends and the
# kernel panics: the lab shows the console.
set -e
busybox=/bin/busybox

optional() {
    "$@" || echo "lab: this kernel cannot: $*"
}

mount_root() {
    $busybox mkdir -p /proc /dev /host /new
    $busybox mount -t proc proc /proc
    $busybox --install -s /bin
    mount -t devtmpfs dev /dev
    for module in /modules/*.ko; do
        if [ -e "$module" ]; then insmod "$module"; fi
    done
    mount -t virtiofs -o ro host /host
    if [ "$ROOT" = / ]; then
        mount --bind /host /new
    else
        mount_other_root
    fi
}

# Programs for another processor than the host's, and of the host only what is shown.
mount_other_root() {
    mount -t tmpfs -o mode=755 root /new
    cd /new
    mkdir -p usr proc sys dev run tmp var/tmp var/cache root
    mount --bind "/host$ROOT/usr" usr
    cp -a "/host$ROOT/etc" "/host$ROOT/bin" "/host$ROOT/sbin" "/host$ROOT/lib" .
    cd /
}

mount_writable() {
    for place in /run /tmp /var/tmp; do
        mount -t tmpfs -o mode=1777 tmpfs /new$place
    done
    mount -t tmpfs -o mode=755 tmpfs /new/var/cache
    chmod 755 /new/run
    mkdir -p /new/run/home /new/run/lock /new/run/lab
    show() {
        for folder; do
            mkdir -p "/new$folder"
            mount --bind "/host$folder" "/new$folder"
            if [ "$ROOT" != / ] && [ -d "/new$folder/.venv" ]; then
                # What it holds is for the host's Python.
                mount -t tmpfs venv "/new$folder/.venv"
                mkdir "/new$folder/.venv/bin"
                ln -s /usr/bin/python3 "/new$folder/.venv/bin/python"
            fi
        done
    }
    show_hidden
    mkdir -p "/new$RESULTS"
    mount -t virtiofs results "/new$RESULTS"
}

mount_kernel() {
    mount -t proc proc /new/proc
    mount -t sysfs sys /new/sys
    mount -t devtmpfs dev /new/dev
    mkdir -p /new/dev/pts /new/dev/shm
    mount -t devpts -o ptmxmode=666 devpts /new/dev/pts
    mount -t tmpfs -o mode=1777 tmpfs /new/dev/shm
    for link in fd: stdin:/0 stdout:/1 stderr:/2; do
        ln -sfn "/proc/self/fd${link#*:}" "/new/dev/${link%%:*}"
    done
    optional mount -t securityfs security /new/sys/kernel/security
    optional mount -t debugfs debug /new/sys/kernel/debug
    optional mount -t tracefs trace /new/sys/kernel/tracing
    optional mount -t tracefs trace /new/sys/kernel/debug/tracing
    optional mount -t bpf bpf /new/sys/fs/bpf
    optional mount -t cgroup2 cgroup /new/sys/fs/cgroup
}

# All of the output, and the mark behind it, goes through one pipe: so the mark is
# always the last, whatever the job still had in the air.
run_job() {
    mkfifo /run/lab/pipe
    { stty raw -echo; exec cat </run/lab/pipe; } <>"$OUTPUT" >&0 &
    exec 3>/run/lab/pipe
    set +e
    (cd "$CWD" && exec 3>&- && job) </dev/null >&3 2>&3
    status=$?
    sync
    printf '\0%s %d\n' "$END_MARK" $status >&3
    exec 3>&-
    sleep 10
    echo o >/proc/sysrq-trigger
    sleep 60
}

if [ "$1" != second ]; then
    . /job
    mount_root
    mount_kernel
    mount_writable
    cp /bin/busybox /init /job /new/run/lab/
    exec switch_root /new /run/lab/busybox sh /run/lab/init second
fi

. /run/lab/job
mkdir /run/lab/bin
/run/lab/busybox --install -s /run/lab/bin
PATH=/run/lab/bin
echo lab >/proc/sys/kernel/hostname
ip link set lo up
if [ "$ROOT" != / ]; then /usr/sbin/ldconfig; fi
run_job
