//! The seccomp filter: a classic BPF program that refuses what no formatter or linter needs.
//!
//! Refused with `EPERM`: other address families than `AF_UNIX`, tracing, mounting, namespaces, keys, BPF, performance events, io_uring,
//! modules, `TIOCSTI` (typing into the terminal). `clone3` answers `ENOSYS`, so that libraries fall back to `clone`, whose flags a
//! filter can see. A program of another architecture is killed.
//!
//! Sources: `linux/seccomp.h`, `linux/bpf_common.h`, `asm/unistd_64.h`, `asm-generic/unistd.h`.

const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// Low half of the first and second argument.
const FIRST: u32 = 16;
const SECOND: u32 = 24;

const TIOCSTI: u32 = 0x5412;
const AF_UNIX: u32 = 1;
/// All `CLONE_NEW…` flags.
const NEW_NAMESPACES: u32 = 0x7e02_0000;

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub const ARCHITECTURE: u32 = 0xc000_003e;
    pub const SOCKET: u32 = 41;
    pub const IOCTL: u32 = 16;
    pub const CLONE: u32 = 56;
    pub const CLONE3: u32 = 435;
    /// ptrace, process_vm_readv/writev, mount, umount2, pivot_root, move_mount, open_tree, fsopen, fsmount, unshare, setns, keyctl,
    /// add_key, request_key, bpf, perf_event_open, io_uring_setup, kexec_load, kexec_file_load, init_module, finit_module,
    /// delete_module, userfaultfd, reboot, swapon, swapoff, sethostname, open_by_handle_at, quotactl, acct, settimeofday,
    /// clock_settime, mknod, mknodat, chroot, kcmp.
    pub const REFUSED: &[u32] = &[
        101, 310, 311, 165, 166, 155, 429, 428, 430, 432, 272, 308, 250, 248, 249, 321, 298, 425, 246, 320, 175, 313,
        176, 323, 169, 167, 168, 170, 304, 179, 163, 164, 227, 133, 259, 161, 312,
    ];
}

#[cfg(target_arch = "aarch64")]
mod numbers {
    pub const ARCHITECTURE: u32 = 0xc000_00b7;
    pub const SOCKET: u32 = 198;
    pub const IOCTL: u32 = 29;
    pub const CLONE: u32 = 220;
    pub const CLONE3: u32 = 435;
    /// The same calls as on x86-64, as far as they exist.
    pub const REFUSED: &[u32] = &[
        117, 270, 271, 40, 39, 41, 429, 428, 430, 432, 97, 268, 219, 217, 218, 280, 241, 425, 104, 294, 105, 273, 106,
        282, 142, 224, 225, 161, 265, 60, 89, 170, 112, 33, 51, 272,
    ];
}

#[derive(Clone, Copy)]
struct Step {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

const fn step(code: u16, yes: u8, no: u8, value: u32) -> Step {
    Step { code, yes, no, value }
}

fn program() -> Vec<Step> {
    let mut steps = vec![
        step(LOAD, 0, 0, ARCHITECTURE),
        step(EQUAL, 1, 0, numbers::ARCHITECTURE),
        step(RETURN, 0, 0, KILL),
        step(LOAD, 0, 0, NUMBER),
        step(EQUAL, 0, 1, numbers::CLONE3),
        step(RETURN, 0, 0, ENOSYS),
    ];
    for number in numbers::REFUSED {
        steps.push(step(EQUAL, 0, 1, *number));
        steps.push(step(RETURN, 0, 0, EPERM));
    }
    // socket: only the family of local sockets.
    steps.extend([
        step(EQUAL, 0, 4, numbers::SOCKET),
        step(LOAD, 0, 0, FIRST),
        step(EQUAL, 1, 0, AF_UNIX),
        step(RETURN, 0, 0, EPERM),
        step(RETURN, 0, 0, ALLOW),
        // ioctl: not into the terminal.
        step(EQUAL, 0, 4, numbers::IOCTL),
        step(LOAD, 0, 0, SECOND),
        step(EQUAL, 0, 1, TIOCSTI),
        step(RETURN, 0, 0, EPERM),
        step(RETURN, 0, 0, ALLOW),
        // clone: no new namespaces.
        step(EQUAL, 0, 3, numbers::CLONE),
        step(LOAD, 0, 0, FIRST),
        step(ANY_BIT, 0, 1, NEW_NAMESPACES),
        step(RETURN, 0, 0, EPERM),
        step(RETURN, 0, 0, ALLOW),
    ]);
    steps
}

/// The filter as bubblewrap reads it: `struct sock_filter` after `struct sock_filter`, in the machine's byte order.
pub fn file() -> std::io::Result<std::fs::File> {
    let mut bytes = Vec::new();
    for step in program() {
        bytes.extend_from_slice(&step.code.to_ne_bytes());
        bytes.extend_from_slice(&[step.yes, step.no]);
        bytes.extend_from_slice(&step.value.to_ne_bytes());
    }
    super::memory_file("seccomp", &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn verdict(number: u32, first: u32, second: u32) -> u32 {
        let steps = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let Step { code, yes, no, value } = steps[at];
            at += 1;
            let jump = match code {
                LOAD => {
                    loaded = match value {
                        NUMBER => number,
                        ARCHITECTURE => numbers::ARCHITECTURE,
                        FIRST => first,
                        SECOND => second,
                        other => panic!("loads {other}"),
                    };
                    continue;
                }
                EQUAL => loaded == value,
                ANY_BIT => loaded & value != 0,
                _ => return value,
            };
            at += usize::from(if jump { yes } else { no });
        }
    }

    #[test]
    fn local_sockets_pass_and_others_do_not() {
        assert_eq!(verdict(numbers::SOCKET, AF_UNIX, 0), ALLOW);
        for family in [2, 10, 16, 17] {
            assert_eq!(verdict(numbers::SOCKET, family, 0), EPERM);
        }
    }

    #[test]
    fn threads_pass_and_namespaces_do_not() {
        assert_eq!(verdict(numbers::CLONE, 0x003d_0f00, 0), ALLOW);
        assert_eq!(verdict(numbers::CLONE, 0x1000_0011, 0), EPERM);
        assert_eq!(verdict(numbers::CLONE3, 0, 0), ENOSYS);
    }

    #[test]
    fn every_refused_call_is_refused_and_ordinary_ones_pass() {
        for number in numbers::REFUSED {
            assert_eq!(verdict(*number, 0, 0), EPERM);
        }
        assert_eq!(verdict(numbers::IOCTL, 0, TIOCSTI), EPERM);
        assert_eq!(verdict(numbers::IOCTL, 0, 0x5401), ALLOW);
        assert_eq!(verdict(1_000, 0, 0), ALLOW);
    }
}
