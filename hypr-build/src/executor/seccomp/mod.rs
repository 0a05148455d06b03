//! Which system calls a process may make: Docker's default profile as a classic BPF program.
//!
//! A call that the profile does not allow fails with `EPERM`; one that is younger than the profile, with `ENOSYS`, so
//! that a C library falls back to what it used before. `clone3` also fails with `ENOSYS`, because its flags are in
//! memory, where a filter cannot read them. On x86_64 the 32-bit calls have a list of their own, as Docker allows them;
//! those of the x32 ABI, which kernels hardly serve, are unknown calls. On aarch64 32-bit calls are unknown too.
//!
//! One program serves all of that: it looks at the ABI first, then finds the number in a decision tree. The conditions
//! on arguments are compiled by `seccompiler`, whose own filters know one ABI and one refusal.

mod profile;
mod program;
#[cfg(test)]
mod tests;

use seccompiler::{BpfProgram, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use self::{
    profile::{ALWAYS, CLONE, CLONE3, Call, HIGHEST, PERSONALITY, SOCKET, WITH_CAPABILITY},
    program::{Abi, Assembler, Verdict},
};
use super::capabilities::Capabilities;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;

/// Flags of `clone` that make namespaces: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;

/// The execution domains that are no more than another way to see time, memory or uname: PER_LINUX, PER_LINUX32,
/// UNAME26, both of the latter, and the question for the present one.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The families of sockets, first and last. Left out are DECnet, Econet, ATM, IrDA, wanrouter, ISDN, CAIF and the like,
/// for their age; AF_ALG, a way into the kernel's cryptography; and AF_VSOCK, which leads out of a virtual machine.
const SOCKET_FAMILIES: [(u64, u64); 8] =
    [(0, 11), (13, 18), (21, 22), (24, 24), (26, 33), (35, 36), (39, 39), (41, 45)];

/// Why there is no filter.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum SeccompError {
    /// The profile has no numbers for this architecture.
    #[error("there is no system call filter for {0}")]
    Architecture(&'static str),
    /// A rule of the profile cannot be compiled.
    #[error("cannot compile the system call filter")]
    Compile(#[from] seccompiler::BackendError),
    /// The program is longer than the kernel takes.
    #[error("the system call filter has {0} instructions, and the kernel takes {max}", max = program::MAX_LENGTH)]
    TooLong(usize),
}

/// A column of the profile.
type Column = fn(&Call) -> Option<u16>;

/// An architecture that the profile knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Architecture {
    X86_64,
    Aarch64,
}

impl Architecture {
    fn host() -> Result<Self, SeccompError> {
        match std::env::consts::ARCH {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            other => Err(SeccompError::Architecture(other)),
        }
    }

    /// The ABIs through which its kernel takes calls, and which column of the profile numbers them.
    fn abis(self) -> &'static [(Abi, Column)] {
        match self {
            Self::X86_64 => &[(Abi::X86_64, |call| call.x86_64), (Abi::I386, |call| call.i386)],
            Self::Aarch64 => &[(Abi::Aarch64, |call| call.aarch64)],
        }
    }
}

/// A program for `seccomp(SECCOMP_SET_MODE_FILTER)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Filter(BpfProgram);

impl Filter {
    /// Docker's default profile on this machine, for processes that have at most `capabilities`.
    ///
    /// # Errors
    /// Fails on an architecture that the profile has no numbers for.
    pub(crate) fn docker_default(capabilities: Capabilities) -> Result<Self, SeccompError> {
        Self::new(Architecture::host()?, capabilities)
    }

    fn new(architecture: Architecture, capabilities: Capabilities) -> Result<Self, SeccompError> {
        let profile = profile(capabilities)?;
        let mut assembler = Assembler::default();
        for (abi, number) in architecture.abis() {
            let mut verdicts = vec![Verdict::Refuse(EPERM); usize::from(HIGHEST) + 1];
            for (call, verdict) in &profile {
                if let Some(slot) = number(call).and_then(|number| verdicts.get_mut(usize::from(number))) {
                    slot.clone_from(verdict);
                }
            }
            assembler.abi(*abi, &verdicts, &Verdict::Refuse(ENOSYS));
        }
        let program = assembler.finish(&Verdict::Refuse(ENOSYS));
        if program.len() > program::MAX_LENGTH { Err(SeccompError::TooLong(program.len())) } else { Ok(Self(program)) }
    }

    /// The instructions as `struct sock_filter` has them in memory, eight bytes each.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.0.len() * 8);
        for instruction in &self.0 {
            bytes.extend_from_slice(&instruction.code.to_ne_bytes());
            bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
            bytes.extend_from_slice(&instruction.k.to_ne_bytes());
        }
        bytes
    }
}

/// The calls that are not simply refused; of a call that is there twice, the last holds.
fn profile(capabilities: Capabilities) -> Result<Vec<(&'static Call, Verdict)>, SeccompError> {
    let families = SOCKET_FAMILIES.map(|(first, last)| {
        SeccompRule::new(vec![
            argument(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ge, first)?,
            argument(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Le, last)?,
        ])
    });
    let personalities = PERSONALITIES
        .map(|domain| SeccompRule::new(vec![argument(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, domain)?]));
    let no_namespaces =
        SeccompRule::new(vec![argument(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(CLONE_NAMESPACES), 0)?]);
    let mut profile: Vec<_> = ALWAYS.iter().map(|call| (call, Verdict::Allow)).collect();
    profile.push((&SOCKET, Verdict::If(families.into_iter().collect::<Result<_, _>>()?)));
    profile.push((&PERSONALITY, Verdict::If(personalities.into_iter().collect::<Result<_, _>>()?)));
    profile.push((&CLONE, Verdict::If(vec![no_namespaces?])));
    profile.push((&CLONE3, Verdict::Refuse(ENOSYS)));
    for (capability, calls) in WITH_CAPABILITY {
        if capabilities.contains(*capability) {
            profile.extend(calls.iter().map(|call| (call, Verdict::Allow)));
        }
    }
    Ok(profile)
}

fn argument(
    index: u8,
    length: SeccompCmpArgLen,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, length, operator, value)
}
