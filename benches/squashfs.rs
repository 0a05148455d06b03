//! Packing files into a layer, merging layers into an image, and reading one.

use std::io::Read;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hypr_benches::{Files, temporary};
use hypr_squash::{Codec, MergeOptions, Options, Reader, merge, merge_stored};

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
    group.bench_function("four layers, as they are stored", |bencher| {
        bencher.iter(|| merge_stored(&layers, temporary(), &MergeOptions::default()).expect("layers can be merged"));
    });
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let files = Files::new(1, 2000, 8);
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Bytes(files.bytes())).sample_size(10);
    for (name, codec) in [("zstd", Codec::default()), ("lz4", Codec::Lz4), ("gzip", Codec::Gzip { level: 6 })] {
        let image = files.pack(Options { codec, ..Options::default() }).expect("files can be packed");
        let open = || Reader::open(image.try_clone().expect("a descriptor can be copied")).expect("it is an image");
        group.bench_function(format!("{name}, contents"), |bencher| {
            let mut buffer = Vec::new();
            bencher.iter(|| {
                for entry in open().walk() {
                    let (_, node) = entry.expect("the image is whole");
                    buffer.clear();
                    let mut content = node.open().expect("the image is whole");
                    content.read_to_end(&mut buffer).expect("the image is whole");
                }
            });
        });
    }
    let image = files.pack(Options::default()).expect("files can be packed");
    group.bench_function("opening and walking", |bencher| {
        bencher.iter(|| {
            let reader = Reader::open(image.try_clone().expect("a descriptor can be copied")).expect("it is an image");
            reader.walk().fold(0, |sum, entry| sum + entry.expect("the image is whole").1.size())
        });
    });
    group.finish();
}

criterion_group!(benches, pack, merge_layers, read);
criterion_main!(benches);
