//! Packing files into a layer and merging layers into an image.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hypr_benches::{Files, temporary};
use hypr_squash::{Codec, MergeOptions, Options, merge};

fn pack(criterion: &mut Criterion) {
    let files = Files::new(1, 2000, 8);
    let mut group = criterion.benchmark_group("pack");
    group.throughput(Throughput::Bytes(files.bytes())).sample_size(10);
    for (name, codec) in [("zstd", Codec::default()), ("lz4", Codec::Lz4), ("gzip", Codec::Gzip { level: 6 })] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| files.pack(Options { codec, ..Options::default() }).expect("files can be packed"));
        });
    }
    group.finish();
}

fn merge_layers(criterion: &mut Criterion) {
    let layers: Vec<_> = (1..=4).map(|seed| Files::new(seed, 1000, 4).layer().expect("files can be packed")).collect();
    let bytes = layers.len() as u64 * Files::new(1, 1000, 4).bytes();
    let mut group = criterion.benchmark_group("merge");
    group.throughput(Throughput::Bytes(bytes)).sample_size(10);
    group.bench_function("four layers", |bencher| {
        bencher.iter(|| merge(&layers, temporary(), &MergeOptions::default()).expect("layers can be merged"));
    });
    group.finish();
}

criterion_group!(benches, pack, merge_layers);
criterion_main!(benches);
