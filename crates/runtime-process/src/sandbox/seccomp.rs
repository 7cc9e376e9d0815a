//! The filter of system calls: `syscalls`' lists as a program of the kernel's packet filter.
//!
//! `child` installs it last, before the program starts. It is made once.
//! The numbers are searched as a tree: installing the filter makes the kernel run it for every number there is,
//! and a chain of comparisons, which is what the `seccompiler` crate emits, cost 0.84 ms a start against 0.13 ms.

use std::collections::BTreeMap;

use libc::{c_int, c_long, sock_filter};

use super::syscalls::{ALLOWED, ALLOWED_HERE, REFUSED};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Where `struct seccomp_data` has the number, the architecture, and the low half of the first argument.
const NUMBER_AT: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS_AT: u32 = 16;

/// Every kind of namespace.
const NEW_NAMESPACES: c_int = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;
/// The type of a socket, without its flags.
const SOCKET_TYPE: u32 = 0xf;
/// Pushing characters into a terminal, as if they were typed.
const TERMINAL_INPUT: [u32; 2] = [0x5412, 0x541c];

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const UNKNOWN: u32 = errno(libc::ENOSYS);
const DENY: u32 = errno(libc::EPERM);

const fn errno(number: c_int) -> u32 {
    libc::SECCOMP_RET_ERRNO | number.cast_unsigned()
}

/// The filter of every function.
pub(super) fn filter() -> Vec<sock_filter> {
    let mut program = vec![load(ARCHITECTURE_AT)];
    program.extend(when_equal(ARCHITECTURE, vec![load(NUMBER_AT)], true));
    for (number, section) in [
        (libc::SYS_clone, clone_section()),
        (libc::SYS_socket, socket_section()),
        (libc::SYS_ioctl, ioctl_section()),
    ] {
        program.extend(when_equal(narrow(number), section, false));
    }
    program.extend(tree(&ranges()));
    program
}

/// Threads and processes, without namespaces of their own. `clone3`'s flags are out of a filter's reach:
/// it does not exist, and C libraries then take `clone`.
fn clone_section() -> Vec<sock_filter> {
    let has_namespace = jump(libc::BPF_JSET, NEW_NAMESPACES.cast_unsigned(), 0, 1);
    vec![argument(0), has_namespace, answer(DENY), answer(ALLOW)]
}

/// The families that programs speak, no raw sockets; of netlink only what lists interfaces.
fn socket_section() -> Vec<sock_filter> {
    let family = |family: c_int| family.cast_unsigned();
    vec![
        argument(0),
        jump(libc::BPF_JEQ, family(libc::AF_UNIX), 9, 0),
        jump(libc::BPF_JEQ, family(libc::AF_NETLINK), 5, 0),
        jump(libc::BPF_JEQ, family(libc::AF_INET), 1, 0),
        jump(libc::BPF_JEQ, family(libc::AF_INET6), 0, 5),
        argument(1),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, SOCKET_TYPE),
        jump(libc::BPF_JGE, libc::SOCK_RAW.cast_unsigned(), 2, 3),
        // Netlink: the protocol decides.
        argument(2),
        jump(libc::BPF_JEQ, libc::NETLINK_ROUTE.cast_unsigned(), 1, 0),
        answer(DENY),
        answer(ALLOW),
    ]
}

fn ioctl_section() -> Vec<sock_filter> {
    vec![
        argument(1),
        jump(libc::BPF_JEQ, TERMINAL_INPUT[0], 1, 0),
        jump(libc::BPF_JEQ, TERMINAL_INPUT[1], 0, 1),
        answer(DENY),
        answer(ALLOW),
    ]
}

/// Where each answer begins, in the order of the numbers.
fn ranges() -> Vec<(u32, u32)> {
    let mut answers = BTreeMap::new();
    answers.extend(REFUSED.iter().map(|&number| (narrow(number), DENY)));
    let allowed = ALLOWED.iter().chain(ALLOWED_HERE);
    answers.extend(allowed.map(|&number| (narrow(number), ALLOW)));
    let mut ranges = vec![(0, UNKNOWN)];
    for (&number, &answer) in &answers {
        ranges.push((number, answer));
        ranges.push((number + 1, UNKNOWN));
    }
    // Of several that begin at one number the last counts; neighbours with one answer are one.
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (start, answer) in ranges {
        while merged.last().is_some_and(|&(last, _)| last == start) {
            merged.pop();
        }
        if merged.last().is_none_or(|&(_, last)| last != answer) {
            merged.push((start, answer));
        }
    }
    merged
}

/// Finds the range of the loaded number by halving.
fn tree(ranges: &[(u32, u32)]) -> Vec<sock_filter> {
    if let [(_, only)] = ranges {
        return vec![answer(*only)];
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (below, above) = (tree(low), tree(high));
    // A conditional jump reaches 255 instructions, this one any number.
    let far = statement(libc::BPF_JMP | libc::BPF_JA, length(&below));
    let mut program = vec![jump(libc::BPF_JGE, high[0].0, 0, 1), far];
    program.extend(below);
    program.extend(above);
    program
}

/// Runs `section` when the loaded value is `value`; otherwise goes on after it, or ends the process.
fn when_equal(value: u32, section: Vec<sock_filter>, or_kill: bool) -> Vec<sock_filter> {
    let mut program = Vec::new();
    if or_kill {
        program.push(jump(libc::BPF_JEQ, value, 1, 0));
        program.push(answer(libc::SECCOMP_RET_KILL_PROCESS));
    } else {
        let skipped = u8::try_from(section.len()).expect("a section is short");
        program.push(jump(libc::BPF_JEQ, value, 0, skipped));
    }
    program.extend(section);
    program
}

fn load(offset: u32) -> sock_filter {
    statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset)
}

fn argument(index: u32) -> sock_filter {
    load(ARGUMENTS_AT + 8 * index)
}

fn answer(value: u32) -> sock_filter {
    statement(libc::BPF_RET | libc::BPF_K, value)
}

fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: u16::try_from(code).expect("an instruction's code is 16 bits"),
        jt: 0,
        jf: 0,
        k,
    }
}

fn jump(condition: u32, k: u32, when_true: u8, when_false: u8) -> sock_filter {
    sock_filter {
        jt: when_true,
        jf: when_false,
        ..statement(libc::BPF_JMP | condition | libc::BPF_K, k)
    }
}

fn narrow(number: c_long) -> u32 {
    u32::try_from(number).expect("the number of a system call")
}

fn length(program: &[sock_filter]) -> u32 {
    u32::try_from(program.len()).expect("a filter is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would answer, by running the program as it does.
    fn answered(number: c_long, arguments: [u64; 3]) -> u32 {
        let program = filter();
        let data = |offset: u32| match offset {
            NUMBER_AT => narrow(number),
            ARCHITECTURE_AT => ARCHITECTURE,
            _ => arguments[((offset - ARGUMENTS_AT) / 8) as usize] as u32,
        };
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let taken = |yes: bool| usize::from(if yes { step.jt } else { step.jf });
            match u32::from(step.code) {
                0x20 => value = data(step.k),
                0x54 => value &= step.k,
                0x05 => at += step.k as usize,
                0x15 => at += taken(value == step.k),
                0x35 => at += taken(value >= step.k),
                0x45 => at += taken(value & step.k != 0),
                0x06 => return step.k,
                other => panic!("no instruction {other:#x} is used"),
            }
        }
    }

    #[test]
    fn every_number_has_the_answer_of_its_list() {
        for number in 0..1024 {
            if [libc::SYS_clone, libc::SYS_socket, libc::SYS_ioctl].contains(&number) {
                continue;
            }
            let allowed = ALLOWED.contains(&number) || ALLOWED_HERE.contains(&number);
            let expected = match (allowed, REFUSED.contains(&number)) {
                (true, refused) => {
                    assert!(!refused, "{number} is in both lists");
                    ALLOW
                }
                (false, true) => DENY,
                (false, false) => UNKNOWN,
            };
            assert_eq!(answered(number, [0; 3]), expected, "{number}");
        }
        // The other way into the kernel of the same machine.
        assert_eq!(answered(0x4000_0000, [0; 3]), UNKNOWN);
        assert_eq!(answered(libc::SYS_clone3, [0; 3]), UNKNOWN);
    }

    #[test]
    fn a_thread_may_be_made_and_a_namespace_not() {
        let flags = |flags: c_int| [u64::from(flags.cast_unsigned()), 0, 0];
        let thread = libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
        assert_eq!(answered(libc::SYS_clone, flags(thread)), ALLOW);
        for namespace in [libc::CLONE_NEWUSER, libc::CLONE_NEWNET, libc::CLONE_NEWNS] {
            assert_eq!(answered(libc::SYS_clone, flags(namespace)), DENY);
        }
    }

    #[test]
    fn sockets_are_of_programs_and_not_raw() {
        let check = |family: c_int, kind: c_int, protocol: c_int, expected: u32| {
            let arguments = [family, kind, protocol].map(|number| u64::from(number.cast_unsigned()));
            let got = answered(libc::SYS_socket, arguments);
            assert_eq!(got, expected, "family {family}, type {kind}, protocol {protocol}");
        };
        check(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0, ALLOW);
        check(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0, ALLOW);
        check(libc::AF_INET6, libc::SOCK_DGRAM, 0, ALLOW);
        check(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE, ALLOW);
        check(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER, DENY);
        check(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP, DENY);
        check(libc::AF_INET6, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0, DENY);
        check(libc::AF_PACKET, libc::SOCK_RAW, 0, DENY);
        check(libc::AF_VSOCK, libc::SOCK_STREAM, 0, DENY);
        check(libc::AF_ALG, libc::SOCK_SEQPACKET, 0, DENY);
    }

    #[test]
    fn a_terminal_takes_no_typed_characters() {
        assert_eq!(answered(libc::SYS_ioctl, [0, 0x5412, 0]), DENY);
        assert_eq!(answered(libc::SYS_ioctl, [0, 0x541c, 0]), DENY);
        assert_eq!(answered(libc::SYS_ioctl, [0, 0x5401, 0]), ALLOW);
    }
}
