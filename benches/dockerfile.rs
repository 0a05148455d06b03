//! Parsing a Dockerfile: the examples, and one of ten thousand lines.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hypr_build::dockerfile::parse;

fn dockerfiles(criterion: &mut Criterion) {
    let long: String = (0..5000)
        .map(|n| format!("ENV NAME_{n}=\"value ${{NAME_{}:-none}}\"\nRUN echo {n} && \\\n    true\n", n / 2))
        .fold("FROM scratch\n".to_owned(), |text, step| text + &step);
    let files = [
        ("c-static", include_str!("../examples/c-static/Dockerfile")),
        ("multi-stage", include_str!("../examples/multi-stage/Dockerfile")),
        ("long", &long),
    ];
    let mut group = criterion.benchmark_group("parse");
    for (name, text) in files {
        group.throughput(Throughput::Bytes(text.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse(black_box(text)).expect("the benchmark's Dockerfiles are well formed"));
        });
    }
    group.finish();
}

criterion_group!(benches, dockerfiles);
criterion_main!(benches);
