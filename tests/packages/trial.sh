# Inside a fresh root: install, use, upgrade and purge /root/forktrace.deb.
set -eu
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 MANWIDTH=80
cd /root

listing() {
    find / -xdev \( -path /root -o -path /proc -o -path /sys -o -path /tmp \
        -o -path /var/log -o -path /var/lib/apt -o -path /var/cache/apt \
        -o -path /var/cache/man -o -name __pycache__ \) -prune -o -print | sort
}

install() {
    apt-get install --yes --quiet --no-install-recommends "$@" >log 2>&1 || {
        cat log
        exit 1
    }
}

# For the listing, what it needs comes first.
apt-get update --quiet >log 2>&1
install $(dpkg-deb -f forktrace.deb Depends | sed 's/([^)]*)//g; s/:any//g; s/,/ /g')
listing >before

# A previous version is this one under another number.
dpkg-deb --raw-extract forktrace.deb previous
sed -i 's/^Version: .*/Version: 0~previous/' previous/DEBIAN/control
dpkg-deb --build previous previous.deb >log
install ./previous.deb
echo 'ARGS="--log.level debug"' >/etc/default/forktrace
mkdir -m 700 /var/cache/forktrace
touch /var/cache/forktrace/compiled

install ./forktrace.deb
grep -q debug /etc/default/forktrace
[ "$(dpkg-query -W -f '${Version}' forktrace)" = "$(dpkg-deb -f forktrace.deb Version)" ]
[ -z "$(dpkg --verify forktrace | grep -v /etc/default/forktrace)" ]
[ -L /etc/systemd/system/multi-user.target.wants/forktrace.service ]
[ ! -e /etc/systemd/system/sockets.target.wants/forktrace.socket ]

forktrace --version
forktrace --help >log
man forktrace | grep -q '^SYNOPSIS'
# 3: this kernel cannot be traced. An emulator is there, whatever the kernel.
forktrace doctor >log || [ $? = 3 ]
grep 'unicorn is missing' log && exit 1
grep 'can.* be traced' log
said=$(forktrace report forktrace.deb --html page.html 2>&1) && exit 1
[ "$said" != "${said#*apt install python3-plotly}" ]
completed=$(COMP_WORDS='forktrace rec' COMP_CWORD=1 _FORKTRACE_COMPLETE=complete_bash forktrace)
[ "$completed" = record ]

apt-get purge --yes --quiet forktrace >log 2>&1
listing >after
# Nothing may be left.
diff before after
echo "installed, upgraded, purged"
