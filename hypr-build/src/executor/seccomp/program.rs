//! Puts a filter together: a dispatch by ABI, and under each a decision tree over the numbers of its calls.
//!
//! A classic BPF program only jumps forward. A conditional jump reaches 255 instructions, an unconditional one all of
//! the program; so every branch here is a condition that skips one unconditional jump.

use seccompiler::{BpfProgram, SeccompAction, SeccompRule, sock_filter};

use super::EPERM;

/// Instructions that the kernel takes at most (BPF_MAXINSNS).
pub(super) const MAX_LENGTH: usize = 4096;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ABI: u32 = 4;

const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_IF_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// A convention by which calls reach the kernel; the discriminant is its `AUDIT_ARCH_` number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Abi {
    X86_64 = 0xc000_003e,
    I386 = 0x4000_0003,
    Aarch64 = 0xc000_00b7,
}

/// What becomes of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Allow,
    /// It fails with this `errno`.
    Refuse(u16),
    /// It is allowed if one of the rules matches, else refused with `EPERM`.
    If(Vec<SeccompRule>),
}

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    program: BpfProgram,
}

impl Assembler {
    /// Adds what holds for calls through `abi`: a verdict for each number from 0, and `beyond` for all higher ones.
    pub(super) fn abi(&mut self, abi: Abi, verdicts: &[Verdict], beyond: &Verdict) {
        let mut ranges: Vec<(u32, &Verdict)> = Vec::new();
        for (number, verdict) in (0..).zip(verdicts.iter().chain([beyond])) {
            if ranges.last().is_none_or(|(_, last)| *last != verdict) {
                ranges.push((number, verdict));
            }
        }
        let mut tree = vec![statement(LOAD_WORD, NUMBER)];
        tree.extend(decide(&ranges));
        self.program.push(statement(LOAD_WORD, ABI));
        self.program.push(branch(JUMP_IF_EQUAL, abi as u32));
        self.program.push(jump_over(&tree));
        self.program.extend(tree);
    }

    /// The program, with what holds for all other ABIs.
    pub(super) fn finish(mut self, otherwise: &Verdict) -> BpfProgram {
        self.program.extend(leaf(otherwise));
        self.program
    }
}

/// Finds the range that the loaded number is in: each begins where the next pair says.
fn decide(ranges: &[(u32, &Verdict)]) -> BpfProgram {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    match (lower, upper) {
        ([], []) => BpfProgram::new(),
        ([], [(_, verdict), ..]) => leaf(verdict),
        (_, [(middle, _), ..]) => {
            let upper = decide(upper);
            let mut program = vec![branch(JUMP_IF_AT_LEAST, *middle), jump_over(&upper)];
            program.extend(upper);
            program.extend(decide(lower));
            program
        }
        (_, []) => decide(lower),
    }
}

fn leaf(verdict: &Verdict) -> BpfProgram {
    let action = |action: SeccompAction| statement(RETURN, action.into());
    match verdict {
        Verdict::Allow => vec![action(SeccompAction::Allow)],
        Verdict::Refuse(errno) => vec![action(SeccompAction::Errno(u32::from(*errno)))],
        Verdict::If(rules) => {
            // A rule that does not match goes on behind the one instruction that follows it.
            let mut program = BpfProgram::new();
            for rule in rules {
                program.extend(BpfProgram::from(rule.clone()));
                program.push(action(SeccompAction::Allow));
            }
            program.push(action(SeccompAction::Errno(u32::from(EPERM))));
            program
        }
    }
}

/// Goes on behind the next instruction if the condition holds, else to it.
fn branch(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 1, jf: 0, k }
}

fn jump_over(program: &BpfProgram) -> sock_filter {
    // A program over the kernel's 4096 instructions is refused once it is whole.
    statement(JUMP, u32::try_from(program.len()).unwrap_or(u32::MAX))
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}
