//! Parts of a rebuild in which nothing changed: planning, looking at the context, keys of steps. And what the first part of
//! a `RUN` costs, the start of its sandbox.
//!
//! Everything is reached as a program would reach it, so the opening of the store is part of each.

#![expect(clippy::print_stderr, reason = "a measurement that cannot be made here says so")]

use std::{fs, path::Path};

use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hypr_benches::busybox;
use hypr_build::{
    Builder, Executor, Limits, Network,
    executor::{NamespaceExecutor, RunStep, StepIo},
};
use oci_spec::runtime::ProcessBuilder;
use tokio::{io::AsyncWrite, runtime::Runtime};

fn plan(criterion: &mut Criterion) {
    let runtime = runtime();
    let store = tempfile::tempdir().expect("a temporary folder");
    let mut group = criterion.benchmark_group("plan");
    for (name, stages, steps) in [("one stage of 1,000 steps", 1, 1000), ("100 stages of 10 steps", 100, 10)] {
        let text: String = (0..stages)
            .flat_map(|stage| {
                let from = if stage == 0 { "scratch".to_owned() } else { format!("s{}", stage - 1) };
                let steps = (0..steps).map(|n| match n % 2 {
                    0 => format!("ENV NAME_{n}=\"value ${{NAME_{}:-none}}\"\n", n / 2),
                    _ => format!("RUN echo {n}\n"),
                });
                [format!("FROM {from} AS s{stage}\n")].into_iter().chain(steps).collect::<Vec<_>>()
            })
            .collect();
        group.throughput(Throughput::Elements(stages * steps));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let builder = Builder::from_dockerfile(text.as_str()).store(store.path());
                runtime.block_on(builder.outline()).expect("it can be planned")
            });
        });
    }
    group.finish();
}

fn context(criterion: &mut Criterion) {
    const FILES: usize = 5000;
    let runtime = runtime();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (context, store) = (folder.path().join("context"), folder.path().join("store"));
    for number in 0..FILES {
        let directory = context.join(format!("d{}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&directory).expect("a folder in the context");
        }
        fs::write(directory.join(format!("f{number}")), format!("{number}\n")).expect("a file in the context");
    }
    let mut group = criterion.benchmark_group("context");
    group.throughput(Throughput::Elements(FILES as u64));
    // What matches nothing is looked for everywhere.
    for (name, copy) in [("walk", "COPY *d*/none* /"), ("walk and key", "COPY . /")] {
        let text = format!("FROM scratch\n{copy}\n");
        let solve = || {
            let builder = Builder::new(&context).dockerfile_text(text.as_str()).store(&store);
            runtime.block_on(builder.solve()).expect("it can be built");
        };
        solve();
        group.bench_function(format!("{name}, {FILES} files"), |bencher| bencher.iter(solve));
    }
    group.finish();
}

fn keys(criterion: &mut Criterion) {
    const STEPS: usize = 200;
    let runtime = runtime();
    let store = tempfile::tempdir().expect("a temporary folder");
    let steps: String = (0..STEPS).map(|n| format!("WORKDIR /work/{n}\n")).collect();
    let text = format!("FROM scratch\n{steps}");
    let solve = || {
        let builder = Builder::from_dockerfile(text.as_str()).store(store.path());
        runtime.block_on(builder.solve()).expect("it can be built");
    };
    solve();
    let mut group = criterion.benchmark_group("keys");
    group.throughput(Throughput::Elements(STEPS as u64)).sample_size(20);
    group.bench_function(format!("{STEPS} steps, one after another"), |bencher| bencher.iter(solve));
    group.finish();
}

fn sandbox(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let Some(snapshot) = busybox(folder.path()) else {
        eprintln!("sandbox: not measured, because there is no /bin/busybox");
        return;
    };
    let runtime = runtime();
    let process = ProcessBuilder::default().args(["/bin/true".to_owned()]).cwd("/").build().expect("it has all fields");
    let run = |executor: &NamespaceExecutor| {
        let step = RunStep {
            snapshot: &snapshot,
            process: &process,
            script: None,
            mounts: &[],
            network: Network::None,
            limits: &Limits::default(),
        };
        runtime.block_on(executor.run(step, &mut Nowhere(tokio::io::sink())))
    };
    let executor = executor(folder.path(), "later");
    if let Err(error) = run(&executor) {
        eprintln!("sandbox: not measured: {error}");
        return;
    }
    let mut group = criterion.benchmark_group("sandbox");
    group.sample_size(20);
    group.bench_function("the first of a build", |bencher| {
        bencher.iter(|| run(&self::executor(folder.path(), "first")).expect("it runs"));
    });
    group.bench_function("each after it", |bencher| bencher.iter(|| run(&executor).expect("it runs")));
    group.finish();
}

fn executor(folder: &Path, name: &str) -> NamespaceExecutor {
    let scratch = folder.join(name);
    fs::create_dir_all(&scratch).expect("a folder for what steps write");
    NamespaceExecutor::new(scratch)
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started")
}

/// Takes what a step says and changes, and keeps nothing.
struct Nowhere(tokio::io::Sink);

#[async_trait]
impl StepIo for Nowhere {
    async fn stdout(&mut self, _: &[u8]) {}

    async fn stderr(&mut self, _: &[u8]) {}

    fn changes(&mut self) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.0
    }

    fn mount_changes(&mut self, _: usize) -> &mut (dyn AsyncWrite + Send + Unpin) {
        &mut self.0
    }
}

criterion_group!(benches, plan, context, keys, sandbox);
criterion_main!(benches);
