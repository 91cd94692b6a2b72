//! A program run once on a packet that nobody sent: `BPF_PROG_TEST_RUN`.
#![expect(unsafe_code, reason = "the system call takes raw pointers")]

use std::os::fd::{AsRawFd, BorrowedFd};

use super::syscall::{BpfError, TestRun, bpf};

/// What a program answered.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ran {
    /// Its verdict, as the hook numbers them.
    pub verdict: i32,
    /// The packet as it left it.
    pub packet: Vec<u8>,
    /// When it may leave: `CLOCK_MONOTONIC`, nanoseconds; 0 where nobody says, and of XDP.
    pub departs_ns: u64,
    /// What the run took by the kernel's clock, nanoseconds; its own work around the program included.
    pub duration_ns: u32,
}

/// Words of `struct __sk_buff`; which of them says which device a packet is on, and which two when it may leave.
const CONTEXT_WORDS: usize = 48;
const IFINDEX: usize = 10;
const DEPARTS: usize = 38;

/// Runs a tc program on an Ethernet frame that is on a device (of this thread's network namespace). Redirections are not
/// carried out. Once only: a second round would be given the packet that the first has changed.
pub fn run_once(program: BorrowedFd<'_>, ifindex: u32, packet: &[u8]) -> Result<Ran, BpfError> {
    let mut context = [0_u32; CONTEXT_WORDS];
    context[IFINDEX] = ifindex;
    run(program, packet, &context)
}

/// As [`run_once`], a program of XDP; the packet comes from no device.
pub fn run_once_on_wire(program: BorrowedFd<'_>, packet: &[u8]) -> Result<Ran, BpfError> {
    run(program, packet, &[])
}

fn run(program: BorrowedFd<'_>, packet: &[u8], context: &[u32]) -> Result<Ran, BpfError> {
    /// Answers are longer than what they answer by less.
    const GROWTH_MAX: usize = 256;
    let mut out = vec![0; packet.len() + GROWTH_MAX];
    let mut context_out = vec![0_u32; context.len()];
    let mut attribute = TestRun {
        prog_fd: program.as_raw_fd() as u32,
        data_size_in: packet.len() as u32,
        data_size_out: out.len() as u32,
        data_in: packet.as_ptr().addr() as u64,
        data_out: out.as_mut_ptr().addr() as u64,
        repeat: 1,
        ctx_size_in: size_of_val(context) as u32,
        ctx_in: if context.is_empty() { 0 } else { context.as_ptr().addr() as u64 },
        ctx_size_out: size_of_val(context) as u32,
        ctx_out: if context.is_empty() { 0 } else { context_out.as_mut_ptr().addr() as u64 },
        ..TestRun::default()
    };
    // SAFETY: every address is of a buffer of the size stated with it, and outlives the call.
    unsafe { bpf(&mut attribute) }.map_err(|e| BpfError::of("running a program on a packet", e))?;
    out.truncate(attribute.data_size_out as usize);
    let departs =
        context_out.get(DEPARTS..DEPARTS + 2).map(|words| [words[0].to_ne_bytes(), words[1].to_ne_bytes()]);
    let departs_ns =
        departs.map_or(0, |halves| u64::from_ne_bytes(halves.concat().try_into().unwrap_or_default()));
    Ok(Ran { verdict: attribute.retval as i32, packet: out, departs_ns, duration_ns: attribute.duration })
}
