//! Limits, and what a step is said to have used.

use std::{
    num::{NonZeroU32, NonZeroU64},
    time::{Duration, Instant},
};

use hypr_build::executor::{Exceeded, Executor, ExecutorError, Limits};

use crate::{layers::Workshop, run::Step};

const MIB: u64 = 1 << 20;

async fn exceeded(executor: &dyn Executor, workshop: &Workshop, script: &str, limits: Limits) -> Option<Exceeded> {
    match Step::shell(&workshop.busybox(), script).limits(limits).run(executor).await {
        (Err(ExecutorError::Limit { exceeded, .. }), _) => Some(exceeded),
        (Err(ExecutorError::Unenforceable { limit, reason }), _) => {
            eprintln!("skipped: {limit}: {reason}");
            None
        }
        (other, recording) => panic!("{other:?}\n{recording}"),
    }
}

pub(crate) async fn time_is_limited(executor: &dyn Executor, workshop: &Workshop) {
    let begin = Instant::now();
    let limits = Limits { timeout: Some(Duration::from_millis(300)), ..Limits::default() };
    let script = "trap '' TERM INT HUP; while :; do sleep 1; done";
    assert_eq!(exceeded(executor, workshop, script, limits).await, Some(Exceeded::Time));
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}

pub(crate) async fn memory_is_limited(executor: &dyn Executor, workshop: &Workshop) {
    let limits = Limits { memory: NonZeroU64::new(32 * MIB), ..Limits::default() };
    let script = "x=0123456789abcdef; while :; do x=$x$x; done";
    if let Some(exceeded) = exceeded(executor, workshop, script, limits).await {
        assert_eq!(exceeded, Exceeded::Memory);
    }
}

pub(crate) async fn a_step_that_outlives_its_limit_says_how_it_ended(executor: &dyn Executor, workshop: &Workshop) {
    let limits = Limits { memory: NonZeroU64::new(32 * MIB), ..Limits::default() };
    let script = "sh -c 'x=0123456789abcdef; while :; do x=$x$x; done'; exit 3";
    match Step::shell(&workshop.busybox(), script).limits(limits).run(executor).await.0 {
        Err(error @ ExecutorError::Limit { exceeded: Exceeded::Memory, status: Some(3) }) => {
            assert_eq!(error.to_string(), "the step went over its limit of memory, and it exited with status 3");
        }
        Err(ExecutorError::Unenforceable { limit, reason }) => eprintln!("skipped: {limit}: {reason}"),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn processes_are_limited(executor: &dyn Executor, workshop: &Workshop) {
    let limits = Limits { pids: NonZeroU32::new(20), ..Limits::default() };
    let script = "for i in $(seq 1 40); do sleep 100 & done; sleep 100";
    if let Some(exceeded) = exceeded(executor, workshop, script, limits).await {
        assert_eq!(exceeded, Exceeded::Pids);
    }
}

pub(crate) async fn processors_are_limited(executor: &dyn Executor, workshop: &Workshop) {
    let limits = Limits { cpus: NonZeroU32::new(1), ..Limits::default() };
    // Two that would use a processor each, if there are as many.
    let script = "for i in 1 2; do (i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done) & done; wait";
    let begin = Instant::now();
    match Step::shell(&workshop.busybox(), script).limits(limits).run(executor).await.0 {
        Err(ExecutorError::Unenforceable { limit, reason }) => eprintln!("skipped: {limit}: {reason}"),
        outcome => {
            // A group may use up its time for a period of 100 ms before it is stopped.
            let allowed = begin.elapsed() + Duration::from_millis(200);
            let usage = outcome.unwrap().usage;
            assert!(usage.cpu.is_none_or(|cpu| cpu <= allowed), "{usage:?} in {allowed:?}");
        }
    }
}

pub(crate) async fn usage_is_told(executor: &dyn Executor, workshop: &Workshop) {
    let script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
    let (outcome, _) = Step::shell(&workshop.busybox(), script).run(executor).await;
    let usage = outcome.unwrap().usage;
    assert!(usage.cpu.is_some_and(|cpu| cpu > Duration::from_millis(10)), "{usage:?}");
    assert!(usage.peak_memory.is_none_or(|bytes| bytes > 4096), "{usage:?}");
}

pub(crate) async fn what_cannot_be_enforced_is_refused(executor: &dyn Executor, workshop: &Workshop) {
    let limits = Limits { scratch: NonZeroU64::new(64 * MIB), ..Limits::default() };
    let script = "head -c 100000000 /dev/zero >/file";
    if let Some(exceeded) = exceeded(executor, workshop, script, limits).await {
        assert_eq!(exceeded, Exceeded::Scratch);
    }
}
