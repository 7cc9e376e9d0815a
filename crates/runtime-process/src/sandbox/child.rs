//! Between the start of a process and its program: what the new process does to itself.
//!
//! `spawn` prepares everything, so that nothing here allocates or takes a lock: the process is a copy of one thread of
//! the server, and other threads may have held locks when it was made. It makes system calls, and nothing else.
//!
//! The process builds its walls, starts the program as its child, and becomes `squall-init`.

use std::ffi::{CStr, CString};
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_char, c_int, c_uint, c_ulong, pid_t, sock_filter, sock_fprog};

use super::SOCKET_FD;
use super::enter::{self, Inside};

/// What failed, as the server is told in four bytes, then the four of `errno`, then four that say which of several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Step {
    Session = 1,
    Cgroups,
    Namespaces,
    Limits,
    Capabilities,
    Seccomp,
    Fork,
    Descriptors,
    Directory,
    Program,
    Init,
    Network,
}

impl Step {
    pub(super) const ALL: [Self; 12] = [
        Self::Session,
        Self::Cgroups,
        Self::Namespaces,
        Self::Limits,
        Self::Capabilities,
        Self::Seccomp,
        Self::Fork,
        Self::Descriptors,
        Self::Directory,
        Self::Program,
        Self::Init,
        Self::Network,
    ];
}

/// Everything that the new process needs. Descriptors are above those that the program gets.
pub(super) struct Prepared {
    pub(super) program: CString,
    pub(super) dir: CString,
    /// Pointers end with a null.
    pub(super) args: Vec<*const c_char>,
    pub(super) environment: Vec<*const c_char>,
    pub(super) null: RawFd,
    pub(super) log: RawFd,
    pub(super) socket: Option<RawFd>,
    /// Takes the program's wait status.
    pub(super) status: RawFd,
    /// Takes a step and an `errno`; its other end closes with the server.
    pub(super) failure: RawFd,
    pub(super) init: RawFd,
    /// Of the control groups of version 1 to move to.
    pub(super) tasks: Vec<RawFd>,
    /// The control group of version 2 to be made in.
    pub(super) group: Option<RawFd>,
    /// Sent to the first process when the server ends.
    pub(super) server_died: c_int,
    pub(super) limits: [(libc::__rlimit_resource_t, Option<u64>); 5],
    /// Namespaces, and what is in them.
    pub(super) inside: Option<Inside>,
    /// No capabilities, and no way to gain privileges.
    pub(super) unprivileged: bool,
    /// Of system calls.
    pub(super) filter: Option<Vec<sock_filter>>,
}

/// What failed, why, and which of several.
pub(super) struct Failure(pub(super) Step, pub(super) c_int, pub(super) u32);

/// The new process's whole life up to its program.
pub(super) fn run(prepared: &Prepared) -> ! {
    let failure = match build(prepared) {
        Ok(program) => become_init(prepared, program),
        Err(failure) => failure,
    };
    tell(prepared, &failure);
    // SAFETY: ends the calling process, without the server's handlers.
    unsafe { libc::_exit(127) }
}

/// Returns in the first process only, with the program's number.
fn build(prepared: &Prepared) -> Result<pid_t, Failure> {
    for &tasks in &prepared.tasks {
        // SAFETY: one byte. `0` is the thread that writes it, which is all there is of this process yet.
        let written = unsafe { libc::write(tasks, c"0".as_ptr().cast(), 1) };
        check(Step::Cgroups, written as i64)?;
    }
    lead_session(prepared)?;
    if let Some(inside) = &prepared.inside {
        enter::enter(inside)?;
    }
    for (resource, most) in prepared.limits {
        if let Some(most) = most {
            limit(resource, most)?;
        }
    }
    if prepared.unprivileged {
        close_ways_to_privileges()?;
    }
    if let Some(uid) = prepared.inside.as_ref().and_then(|inside| inside.uid) {
        enter::become_user(uid)?;
        end_with_server(prepared)?;
    }
    if prepared.unprivileged {
        drop_capabilities()?;
    }
    if let Some(filter) = &prepared.filter {
        install(filter)?;
    }
    // SAFETY: a process with one thread makes a copy of itself; both go on below.
    let program = check(Step::Fork, unsafe {
        libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0)
    })?;
    if program != 0 {
        return Ok(program as pid_t);
    }
    let failure = become_program(prepared);
    tell(prepared, &failure);
    // SAFETY: as in `run`.
    unsafe { libc::_exit(127) }
}

/// A session of its own, which ends with the server and takes in the orphans of all that it starts.
fn lead_session(prepared: &Prepared) -> Result<(), Failure> {
    // SAFETY: system calls on numbers; they touch only the calling process.
    unsafe {
        check(Step::Session, libc::setsid().into())?;
        check(Step::Session, libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1).into())?;
    }
    end_with_server(prepared)
}

/// To be done again when the user has changed.
fn end_with_server(prepared: &Prepared) -> Result<(), Failure> {
    let signal = c_ulong::from(prepared.server_died.cast_unsigned());
    // SAFETY: as above.
    check(
        Step::Session,
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) }.into(),
    )?;
    let mut poll = libc::pollfd {
        fd: prepared.failure,
        events: 0,
        revents: 0,
    };
    // SAFETY: one valid entry. The server holds the other end of this pipe; without it the server is gone,
    // and may have died before the lines above took effect.
    let gone = unsafe { libc::poll(&raw mut poll, 1, 0) } > 0;
    if gone {
        return Err(Failure(Step::Session, libc::EPIPE, 0));
    }
    Ok(())
}

fn limit(resource: libc::__rlimit_resource_t, wanted: u64) -> Result<(), Failure> {
    let mut now = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `now` is a valid place for the answer and a valid argument.
    unsafe {
        check(Step::Limits, libc::getrlimit(resource, &raw mut now).into())?;
        let value = wanted.min(now.rlim_max);
        now = libc::rlimit {
            rlim_cur: value,
            rlim_max: value,
        };
        check(Step::Limits, libc::setrlimit(resource, &raw const now).into())?;
    }
    Ok(())
}

/// The kernel's `struct __user_cap_header_struct`, and twice `struct __user_cap_data_struct`.
#[repr(C)]
struct CapabilityHeader {
    version: u32,
    pid: c_int,
}
const CAPABILITY_VERSION_3: u32 = 0x2008_0522;
/// All of `SECBIT_NOROOT`, `SECBIT_NO_SETUID_FIXUP` and `SECBIT_NO_CAP_AMBIENT_RAISE`, each with its lock.
const NO_ROOT_MAGIC: c_ulong = 0b1100_1111;

/// Set-user-id programs give nothing any more, nor does being root.
fn close_ways_to_privileges() -> Result<(), Failure> {
    // SAFETY: system calls on numbers; they touch only the calling process.
    unsafe {
        check(
            Step::Capabilities,
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0).into(),
        )?;
        // Without CAP_SETPCAP neither of the two is allowed; then there is nothing to gain either.
        libc::prctl(libc::PR_SET_SECUREBITS, NO_ROOT_MAGIC, 0, 0, 0);
        for capability in 0..64 {
            libc::prctl(libc::PR_CAPBSET_DROP, capability as c_ulong, 0, 0, 0);
        }
        let clear = libc::PR_CAP_AMBIENT_CLEAR_ALL as c_ulong;
        check(
            Step::Capabilities,
            libc::prctl(libc::PR_CAP_AMBIENT, clear, 0, 0, 0).into(),
        )?;
    }
    Ok(())
}

/// Gives up every capability.
fn drop_capabilities() -> Result<(), Failure> {
    let nothing = [0_u32; 6];
    let header = CapabilityHeader {
        version: CAPABILITY_VERSION_3,
        pid: 0,
    };
    // SAFETY: both values are as the kernel expects them and live on.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw const header, nothing.as_ptr()) };
    check(Step::Capabilities, set)?;
    Ok(())
}

fn install(filter: &[sock_filter]) -> Result<(), Failure> {
    let program = sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the kernel copies the program, which `filter` holds for as long as the call takes.
    let installed = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    check(Step::Seccomp, installed)?;
    Ok(())
}

/// The first process: closes everything but the status, and takes in orphans from now on.
fn become_init(prepared: &Prepared, program: pid_t) -> Failure {
    let mut digits = [0_u8; 12];
    let number = decimal(program.unsigned_abs(), &mut digits);
    let name = c"squall-init";
    let args = [name.as_ptr(), number.as_ptr(), ptr::null()];
    let environment: [*const c_char; 1] = [ptr::null()];
    let block_all = || {
        for fd in 0..=2 {
            place(prepared.null, fd)?;
        }
        place(prepared.status, 3)?;
        block_signals(true);
        close_from(4);
        Ok(())
    };
    if let Err(failure) = block_all() {
        return failure;
    }
    execute(Step::Init, prepared, c"", args.as_ptr(), environment.as_ptr())
}

/// The program's process.
fn become_program(prepared: &Prepared) -> Failure {
    let arrange = || {
        // SAFETY: numbers, and a path that is a C string. The program ends with the first process.
        unsafe {
            check(
                Step::Session,
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL).into(),
            )?;
            check(Step::Session, libc::setsid().into())?;
            check(Step::Directory, libc::chdir(prepared.dir.as_ptr()).into())?;
        }
        place(prepared.null, 0)?;
        place(prepared.log, 1)?;
        place(prepared.log, 2)?;
        if let Some(socket) = prepared.socket {
            place(socket, SOCKET_FD)?;
        }
        // SAFETY: the server ignores this signal, a program expects the default.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        block_signals(false);
        close_from(if prepared.socket.is_some() { 4 } else { 3 });
        Ok(())
    };
    if let Err(failure) = arrange() {
        return failure;
    }
    let (args, environment) = (prepared.args.as_ptr(), prepared.environment.as_ptr());
    execute(Step::Program, prepared, &prepared.program, args, environment)
}

/// Becomes the executable of that path, or `squall-init` where the path is empty.
fn execute(
    step: Step,
    prepared: &Prepared,
    path: &CStr,
    args: *const *const c_char,
    environment: *const *const c_char,
) -> Failure {
    let flags = if path.is_empty() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: a C string and two lists of them that end with a null, which the callers hold.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            prepared.init,
            path.as_ptr(),
            args,
            environment,
            flags,
        )
    };
    check(step, result).err().unwrap_or(Failure(step, 0, 0))
}

/// Makes a descriptor another's number too, open in the program.
fn place(from: RawFd, to: RawFd) -> Result<(), Failure> {
    // SAFETY: numbers of descriptors; `from` is never `to`, since `spawn` keeps them above.
    check(Step::Descriptors, unsafe { libc::dup2(from, to) }.into())?;
    Ok(())
}

/// Marks the rest close-on-exec: closing it would close the pipe through which a failing start is told.
fn close_from(first: c_uint) {
    let flags = libc::CLOSE_RANGE_CLOEXEC;
    // SAFETY: numbers. Kernels before 5.11 do not know it; there every descriptor of the server is close-on-exec already.
    unsafe { libc::syscall(libc::SYS_close_range, first, c_uint::MAX, flags) };
}

fn block_signals(all: bool) {
    let set = if all { u64::MAX } else { 0 };
    // SAFETY: a set of the size that is given. The kernel leaves those out that cannot be blocked.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const set,
            ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
    }
}

/// The digits of a number, as a C string at the end of `buffer`.
fn decimal(mut number: u32, buffer: &mut [u8; 12]) -> &CStr {
    let mut at = buffer.len() - 1;
    buffer[at] = 0;
    loop {
        at -= 1;
        buffer[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || at == 0 {
            break;
        }
    }
    CStr::from_bytes_until_nul(&buffer[at..]).unwrap_or(c"")
}

fn tell(prepared: &Prepared, failure: &Failure) {
    let message = [failure.0 as u32, failure.1.cast_unsigned(), failure.2];
    // SAFETY: the message is as long as is said. When nobody reads it any more the server is gone.
    unsafe { libc::write(prepared.failure, message.as_ptr().cast(), size_of_val(&message)) };
}

pub(super) fn check(step: Step, result: i64) -> Result<i64, Failure> {
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: the calling thread's own number.
    Err(Failure(step, unsafe { *libc::__errno_location() }, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_its_digits() {
        let mut buffer = [0; 12];
        for number in [0, 7, 10, 4_194_304, u32::MAX] {
            let text = decimal(number, &mut buffer).to_str().map(str::to_owned);
            assert_eq!(text, Ok(number.to_string()));
        }
    }

    #[test]
    fn a_step_has_its_number() {
        for (index, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, index + 1);
        }
    }
}
