//! The first process within a function's walls: it ends everything that the program leaves behind.
//!
//! `build.rs` makes a small static executable of this file, without the standard library; the crate carries it.
//! `sandbox::child` starts it beside the program, with all signals blocked, as `squall-init PID`, where PID is the
//! program's; descriptor 3 takes the program's wait status, four bytes. It is a child subreaper.
//! It ends when the program does, when it is told to by SIGUSR1, and with the server.
//! SIGTERM is passed on to the program.

#![no_std]
#![no_main]

use core::arch::{asm, global_asm};

const STATUS_FD: usize = 3;
const SIGKILL: usize = 9;
const SIGUSR1: usize = 10;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const WNOHANG: usize = 1;
const AT_FDCWD: usize = -100_isize as usize;
/// What kills until nothing is left gives up after this many rounds: each kills all children that there are.
const ROUNDS_MAX: usize = 10_000;

#[cfg(target_arch = "x86_64")]
mod number {
    pub(crate) const READ: usize = 0;
    pub(crate) const WRITE: usize = 1;
    pub(crate) const CLOSE: usize = 3;
    pub(crate) const GETPID: usize = 39;
    pub(crate) const WAIT4: usize = 61;
    pub(crate) const KILL: usize = 62;
    pub(crate) const SIGTIMEDWAIT: usize = 128;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const OPENAT: usize = 257;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub(crate) const READ: usize = 63;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const CLOSE: usize = 57;
    pub(crate) const GETPID: usize = 172;
    pub(crate) const WAIT4: usize = 260;
    pub(crate) const KILL: usize = 129;
    pub(crate) const SIGTIMEDWAIT: usize = 137;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const OPENAT: usize = 56;
}

// The kernel starts a program with its arguments on the stack.
#[cfg(target_arch = "x86_64")]
global_asm!(
    ".globl _start",
    "_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "and rsp, -16",
    "call {start}",
    "ud2",
    start = sym start
);

#[cfg(target_arch = "aarch64")]
global_asm!(
    ".globl _start",
    "_start:",
    "mov x29, #0",
    "mov x0, sp",
    "bl {start}",
    "brk #1",
    start = sym start
);

#[cfg(target_arch = "x86_64")]
fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the kernel's convention; it changes rcx and r11 only. Callers pass numbers, or pointers that live on.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn call(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result;
    // SAFETY: the kernel's convention. Callers pass numbers, or pointers that live on.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d);
    }
    result
}

/// `stack` is the number of arguments, then pointers to them.
extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: the kernel starts every program with the number of its arguments there.
    if unsafe { *stack } < 2 {
        // The probe of the walls: that it was started is the answer.
        call(number::EXIT_GROUP, 0, 0, 0, 0);
    }
    // SAFETY: there are two arguments, and the kernel ends each with a zero.
    let program = unsafe { parse(*stack.add(2) as *const u8) };
    let signals: u64 = bit(SIGCHLD) | bit(SIGTERM) | bit(SIGUSR1);
    loop {
        let program_ended = reap(program);
        if program_ended {
            end();
        }
        let set = &raw const signals as usize;
        match call(number::SIGTIMEDWAIT, set, 0, 0, size_of::<u64>()) {
            signal if signal == SIGTERM as isize => {
                call(number::KILL, program, SIGTERM, 0, 0);
            }
            signal if signal == SIGUSR1 as isize => {
                call(number::KILL, program, SIGKILL, 0, 0);
            }
            _ => {}
        }
    }
}

const fn bit(signal: usize) -> u64 {
    1 << (signal - 1)
}

/// Takes the status of every child that has ended. True when the program was among them; its status is passed on.
fn reap(program: usize) -> bool {
    let mut program_ended = false;
    loop {
        let mut status: u32 = 0;
        let pid = call(number::WAIT4, usize::MAX, &raw mut status as usize, WNOHANG, 0);
        if pid <= 0 {
            return program_ended;
        }
        if pid as usize == program {
            call(number::WRITE, STATUS_FD, &raw const status as usize, size_of::<u32>(), 0);
            program_ended = true;
        }
    }
}

/// Ends what is left. The end of a pid namespace's first process is the end of all; elsewhere they are killed one by one:
/// whose parent dies becomes a child of this subreaper.
fn end() -> ! {
    let first_of_namespace = call(number::GETPID, 0, 0, 0, 0) == 1;
    let mut rounds = 0;
    while !first_of_namespace && rounds < ROUNDS_MAX && kill_children() {
        while call(number::WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {}
        rounds += 1;
    }
    call(number::EXIT_GROUP, 0, 0, 0, 0);
    loop {}
}

/// Kills all that are children now. False when there are none.
fn kill_children() -> bool {
    let path = c"/proc/thread-self/children".as_ptr() as usize;
    let file = call(number::OPENAT, AT_FDCWD, path, 0, 0);
    if file < 0 {
        return false;
    }
    let file = file as usize;
    let (mut pid, mut any) = (0, false);
    loop {
        let mut byte = 0_u8;
        if call(number::READ, file, &raw mut byte as usize, 1, 0) != 1 {
            break;
        }
        if byte.is_ascii_digit() {
            pid = pid * 10 + usize::from(byte - b'0');
        } else if pid != 0 {
            call(number::KILL, pid, SIGKILL, 0, 0);
            (pid, any) = (0, true);
        }
    }
    call(number::CLOSE, file, 0, 0, 0);
    any
}

/// A decimal number that ends with a zero byte.
///
/// # Safety
/// `text` points to bytes of which one is zero.
unsafe fn parse(mut text: *const u8) -> usize {
    let mut value = 0;
    // SAFETY: it stops at the zero.
    unsafe {
        while *text != 0 {
            value = value * 10 + usize::from(*text - b'0');
            text = text.add(1);
        }
    }
    value
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    call(number::EXIT_GROUP, 127, 0, 0, 0);
    loop {}
}
