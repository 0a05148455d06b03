//! One Dockerfile after the other, each proving one fact of the reference: what goes in, which tree and which
//! configuration come out.
//!
//! A case is a folder below `cases/GROUP/`, named after the fact. `README.md` beside this file says what is in it.
//! `peers.sh` runs the same cases through other builders, to prove the expectations.

mod bases;
mod buildah;
mod case;
mod config;
mod dockerd;
mod entry;
mod hypr;
mod peer;
mod served;
mod table;

use std::{
    fmt::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use case::Case;
use peer::Peer;

/// What building a case came to.
struct Outcome {
    /// Lines of the tree, in the form of [`entry`].
    tree: Vec<String>,
    /// The configuration document.
    config: serde_json::Value,
}

/// A program that builds cases. The error is everything it said.
trait Build: Send + Sync {
    fn build(&self, case: &Case) -> Result<Outcome, String>;
    /// Why this program is not asked about a case.
    fn passes_over(&self, case: &Case) -> Option<String>;
}

/// Runs the cases of a group side by side and reports all that fail.
fn group(name: &str) {
    let cases = Case::of_group(name);
    assert!(!cases.is_empty(), "there are no cases in {name}");
    let builder: Arc<dyn Build> = match Peer::wanted() {
        None => hypr::shared(),
        Some(Peer::Buildah) => buildah::shared(),
        Some(Peer::Dockerd) => dockerd::shared(),
    };
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                let result = catch_unwind(AssertUnwindSafe(|| prove(&*builder, case)));
                if let Err(failure) = result.unwrap_or_else(|_| Err("it panicked".to_owned())) {
                    failures.push(format!("{}: {failure}", case.name));
                }
            }
            failures
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a worker ends")).collect()
    });
    assert!(failures.is_empty(), "{} of {} cases fail\n\n{}", failures.len(), cases.len(), failures.join("\n\n"));
}

#[expect(clippy::print_stdout, reason = "a case that is passed over is named")]
fn prove(builder: &dyn Build, case: &Case) -> Result<(), String> {
    if let Some(reason) = builder.passes_over(case) {
        println!("passed over: {}: {reason}", case.name);
        return Ok(());
    }
    let result = builder.build(case);
    if let Some(expected) = &case.error {
        let said = match result {
            Ok(_) => return Err("it was built, although it must fail".to_owned()),
            Err(said) => said,
        };
        // What others say of the same fault is theirs.
        let missing = expected.lines().find(|line| Peer::wanted().is_none() && !said.contains(line));
        return missing.map_or(Ok(()), |line| Err(format!("`{line}` is not in the error:\n{said}")));
    }
    let outcome = result.map_err(|said| format!("it cannot be built:\n{said}"))?;
    if case::is_updating() {
        case.update(&outcome.tree);
        return Ok(());
    }
    let mut wrong = String::new();
    if let Some(expected) = &case.tree {
        for line in expected.iter().filter(|line| !outcome.tree.contains(line)) {
            let _ = writeln!(wrong, "missing     {line}");
        }
        for line in outcome.tree.iter().filter(|line| !expected.contains(line)) {
            let _ = writeln!(wrong, "unexpected  {line}");
        }
    }
    if let Some(expected) = &case.config {
        wrong.push_str(&config::difference(expected, &outcome.config));
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("\n{wrong}")) }
}

/// What all groups that run at the same time share; the last of them removes it.
struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    fn get(&self, make: impl FnOnce() -> T) -> Arc<T> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(make());
            *shared = Arc::downgrade(&made);
            made
        })
    }
}

macro_rules! groups {
    ($($group:ident)*) => {
        const GROUPS: &[&str] = &[$(stringify!($group)),*];
        $(
            #[test]
            fn $group() {
                group(stringify!($group));
            }
        )*
    };
}

groups! { add arguments configuration context copy expansion from onbuild parsing run workdir }

#[test]
fn every_case_belongs_to_a_group_that_runs() {
    let mut found = case::groups();
    found.sort();
    assert_eq!(found, GROUPS);
    let count: usize = GROUPS.iter().map(|group| Case::of_group(group).len()).sum();
    assert!(count >= 150, "there are only {count} cases");
}

#[test]
fn the_table_in_the_docs_is_that_of_the_cases() {
    table::check(GROUPS);
}
