#!/usr/bin/env bash
# Makes the guest's kernel and disk in the cache folder; each once for each state of what it is made of.
#
#   build.sh CACHE PACKAGE ...      PACKAGE: Debian packages that the project needs at run time and for its tests
set -euo pipefail
cache=$1
shift
here=$(dirname "$(readlink -f "$0")")
tree=$(readlink -f "$here/../..")

suite_root=trixie   # the guest's user land
suite_kernel=forky  # a suite whose kernel has User-Mode Linux with SMP and seccomp (7.1 and newer)
mirror=http://deb.debian.org/debian
system_packages=(systemd systemd-sysv dbus apparmor kmod procps mount e2fsprogs xfsprogs util-linux ca-certificates
    iputils-ping strace selinux-policy-default selinux-utils policycoreutils)

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() { printf 'vm: %s\n' "$*" >&2; exit 1; }

# "fresh NAME FILE..." : is NAME made from these contents (and $extra) already?
key() { { cat "$@"; printf '%s' "${extra:-}"; } | sha256sum | cut -d' ' -f1; }
fresh() { [ -f "$cache/$1.key" ] && [ "$(cat "$cache/$1.key")" = "$2" ]; }

# A private apt whose lists are those of the kernel's suite, so that the machine's own configuration stays as it is.
fetch_kernel_source() {
    local apt=$cache/apt
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite_kernel main" >"$apt/sources.list"
    cat >"$apt/apt.conf" <<EOF
Dir::Etc::sourcelist "$apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$apt/lists";
Dir::State::status "/dev/null";
Dir::Cache::archives "$apt/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
Acquire::Languages "none";
APT::Sandbox::User "root";
EOF
    local package
    APT_CONFIG=$apt/apt.conf apt-get update -q >/dev/null
    package=$(APT_CONFIG=$apt/apt.conf apt-cache depends linux-source | sed -n 's/.*Depends: \(linux-source-[0-9.]*\)$/\1/p' | head -1)
    [ -n "$package" ] || die "cannot find a kernel source package in $suite_kernel"
    (cd "$apt/archives" && rm -f linux-source-*.deb && APT_CONFIG=$apt/apt.conf apt-get download -q "$package" >/dev/null)
    rm -rf "$cache/src"
    mkdir -p "$cache/src"
    dpkg-deb --fsys-tarfile "$apt"/archives/linux-source-*.deb | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' |
        tar -xJ -C "$cache/src" --strip-components=1
    rm -rf "$apt"
}

build_kernel() {
    local wanted
    wanted=$(extra=$suite_kernel key "$here/kernel.config")
    fresh kernel "$wanted" && return
    say "vm: building the guest's kernel, about 12 minutes, once (log: $cache/kernel.log)"
    [ -f "$cache/src/Makefile" ] || fetch_kernel_source
    (
        cd "$cache/src"
        make -s ARCH=um x86_64_defconfig
        scripts/kconfig/merge_config.sh -m .config "$here/kernel.config"
        make -s ARCH=um olddefconfig
        nice -n 19 make -s ARCH=um -j"$(nproc)" linux
    ) >"$cache/kernel.log" 2>&1 </dev/null || die "cannot build the kernel: see $cache/kernel.log"
    strip -o "$cache/linux" "$cache/src/linux"
    rm -rf "$cache/src"
    echo "$wanted" >"$cache/kernel.key"
}

# The Python packages of pyproject.toml, one to a line, as the guest's Python needs them.
python_packages() {
    "$tree/.venv/bin/python" - "$tree/pyproject.toml" <<'EOF'
import sys, tomllib

from packaging.requirements import Requirement

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)
names = project["project"]["dependencies"]
for group in (project["project"].get("optional-dependencies", {}), project["dependency-groups"]):
    names = [*names, *(name for members in group.values() for name in members if isinstance(name, str))]
for name in [*names, "hatchling", "editables"]:
    requirement = Requirement(name)
    if requirement.marker is None or requirement.marker.evaluate({"python_version": "3.13", "extra": ""}):
        requirement.marker = None
        print(str(requirement).replace(" ", ""))
EOF
}

# The guest has no network, so its Python gets the wheels while there is one.
fetch_wheels() {
    rm -rf "$1"
    mkdir -p "$1"
    "$tree/.venv/bin/python" -m pip download -q --disable-pip-version-check --only-binary=:all: --dest "$1" \
        --python-version 3.13 --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 --platform any \
        $(python_packages)
}

build_disk() {
    local wanted packages=("${system_packages[@]}" "$@")
    wanted=$(extra="$suite_root ${packages[*]} $(python_packages)" key "$here/build.sh" "$here"/root/*)
    fresh disk "$wanted" && return
    say "vm: making the guest's disk, about 4 minutes, once (log: $cache/disk.log)"
    local root=$cache/root
    rm -rf "$root"
    mkdir -p "$cache/skeleton/src/crio"
    cp "$tree/pyproject.toml" "$tree/README.md" "$tree/LICENSE" "$cache/skeleton/"
    cp "$tree/src/crio/__init__.py" "$cache/skeleton/src/crio/"
    {
        fetch_wheels "$cache/wheels"
        nice mmdebstrap --mode=root --variant=minbase --format=directory --skip=check/empty \
            --include="$(IFS=,; echo "${packages[*]}")" --aptopt='Acquire::Languages "none"' \
            --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' "$suite_root" "$root" "$mirror"
        mkdir -p "$root/crio" "$root/job" "$root/mnt"
        cp -r "$cache/wheels" "$root/wheels"
        cp -r "$cache/skeleton/." "$root/crio/"
        chroot "$root" python3 -m venv /opt/crio
        # As an editable installation, so that the tree that is put there at each boot is what runs.
        chroot "$root" /opt/crio/bin/pip install -q --no-index --find-links /wheels hatchling editables
        chroot "$root" /opt/crio/bin/pip install -q --no-index --find-links /wheels --no-build-isolation \
            -e /crio $(python_packages)
        install -m 755 "$here/root/guest-job" "$root/usr/local/sbin/guest-job"
        install -m 644 "$here"/root/*.service "$root/etc/systemd/system/"
        chroot "$root" systemctl enable -q guest-job.service guest-shell.service
        chroot "$root" systemctl mask -q getty@.service serial-getty@.service console-getty.service \
            systemd-networkd-wait-online.service docker-registry.service apt-daily.timer apt-daily-upgrade.timer \
            podman.service podman.socket podman-auto-update.timer podman-restart.service e2scrub_all.timer \
            fstrim.timer dpkg-db-backup.timer
        echo guest >"$root/etc/hostname"
        printf '127.0.0.1 localhost guest\n::1 localhost\n' >"$root/etc/hosts"
        printf '/dev/ubda / ext4 defaults 0 1\n' >"$root/etc/fstab"
        : >"$root/etc/machine-id"
        chroot "$root" passwd -q -d root
        rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/*
        printf 'SELINUX=permissive\nSELINUXTYPE=default\n' >"$root/etc/selinux/config"
        cp "$here/root/crio_test.cil" "$root/tmp/"
        chroot "$root" semodule -n -i /tmp/crio_test.cil
        rm "$root/tmp/crio_test.cil"
        chroot "$root" setfiles -F -m /etc/selinux/default/contexts/files/file_contexts /
        rm -f "$cache/disk.img"
        mke2fs -q -t ext4 -E root_owner=0:0 -m 0 -d "$root" "$cache/disk.img" 6G
    } >"$cache/disk.log" 2>&1 </dev/null || die "cannot make the guest's disk: see $cache/disk.log"
    rm -rf "$root" "$cache/wheels" "$cache/skeleton"
    echo "$wanted" >"$cache/disk.key"
}

mkdir -p "$cache"
exec 9>"$cache/.lock"
flock 9
build_disk "$@"
build_kernel
