//! Images with flipped bytes: an error at worst, soon, and never more memory than the image's size and its block size
//! justify.
//!
//! A test program of its own, because it counts what is allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use hypr_squash::{BlockSize, Codec, MergeOptions, Metadata, Options, Piece, Reader, Special, Writer, Xattrs};

/// Mutations of all images together.
const MUTATIONS: usize = 200_000;

thread_local! {
    /// Bytes that this thread has allocated and not freed; what threads hand to each other may make it negative.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// Counts what each thread allocates.
struct Counting;

fn count(bytes: i64) {
    LIVE.set(LIVE.get() + bytes);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: everything is left to the system's allocator; the counters allocate nothing and have no destructors.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        count(signed(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        count(signed(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(size));
        count(signed(size) - signed(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A small generator of numbers, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

fn metadata(mode: u16) -> Metadata {
    Metadata { mode, uid: 1000, gid: 100, mtime: 1_700_000_000, ..Metadata::default() }
}

/// A little of everything.
fn mixed(writer: &mut Writer) {
    let text: Vec<u8> = (0..5000_u32).flat_map(|number| format!("{number} ").into_bytes()).collect();
    let value = b"value of some length".to_vec();
    let xattrs: Xattrs = [b"user.a", b"user.b"].map(|name| (name.to_vec(), value.clone())).into();
    writer.add_file(b"a/file", &metadata(0o644), &mut &text[..10_000]).unwrap();
    writer.add_file(b"a/sparse", &metadata(0o644), &mut &[&[0; 9000], &text[..9000]].concat()[..]).unwrap();
    writer.add_file(b"a/tail", &Metadata { xattrs, ..metadata(0o644) }, &mut &b"tail"[..]).unwrap();
    writer.add_hard_link(b"b", b"a/tail").unwrap();
    writer.add_symlink(b"c/d/link", &metadata(0o777), b"../target").unwrap();
    writer.add_special(b"c/device", &metadata(0o600), Special::CharDevice { major: 1, minor: 3 }).unwrap();
    for number in 0..8 {
        writer.add_special(format!("many/{number:03}").as_bytes(), &metadata(0o600), Special::Fifo).unwrap();
    }
}

/// A directory long enough for an index, and little else.
fn long(writer: &mut Writer) {
    for number in 0..300 {
        let name = format!("long/a name that makes listings longer than a block {number:03}");
        writer.add_special(name.as_bytes(), &metadata(0o600), Special::Fifo).unwrap();
    }
}

/// Reads all that can be read, up to a bound for what is nothing but holes.
fn read_all(reader: &Reader) -> Result<(), hypr_squash::Error> {
    for entry in reader.walk() {
        let (path, node) = entry?;
        let _ = (node.metadata(), node.kind(), reader.lookup(&path));
        let Ok(mut content) = node.open() else { continue };
        let mut rest = 64;
        while let Ok(Some(piece)) = content.next_piece() {
            let (Piece::Bytes(&[.., _]) | Piece::Hole(_)) = piece else { break };
            rest -= 1;
            if rest == 0 {
                break;
            }
        }
    }
    Ok(())
}

struct Image {
    file: File,
    bytes: Vec<u8>,
    /// Bytes that count, and where the tables begin among them.
    used: usize,
    tables: usize,
}

impl Image {
    fn new(codec: Codec, fill: fn(&mut Writer)) -> Self {
        let file = tempfile::tempfile().unwrap();
        let options = Options { codec, block_size: BlockSize::MIN, ..Options::default() };
        let mut writer = Writer::create(file.try_clone().unwrap(), options).unwrap();
        fill(&mut writer);
        writer.finish().unwrap();
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let reader = Reader::open(file.try_clone().unwrap()).unwrap();
        let used = usize::try_from(reader.info().bytes_used).unwrap();
        let tables = usize::try_from(reader.data_range().end).unwrap();
        Self { file, bytes, used, tables }
    }

    /// Flips a few bytes, has the image read, and flips them back.
    fn mutate(&self, numbers: &mut Numbers, round: usize) {
        let mut flipped = Vec::new();
        for _ in 0..=numbers.next(3) {
            // Tables are where it hurts, the superblock most; data is but bytes.
            let at = match numbers.next(8) {
                0 => numbers.next(self.used),
                1 => numbers.next(96),
                _ => self.tables + numbers.next(self.used - self.tables),
            };
            let byte = match numbers.next(4) {
                0 => 0,
                1 => 0xff,
                2 => self.bytes[at] ^ (1 << numbers.next(8)),
                _ => numbers.next(256).to_le_bytes()[0],
            };
            self.file.write_all_at(&[byte], at as u64).unwrap();
            flipped.push(at);
        }
        let before = LIVE.get();
        PEAK.set(before);
        LARGEST.set(0);
        let mut block_size = 4096;
        if let Ok(reader) = Reader::open(self.file.try_clone().unwrap()) {
            block_size = reader.info().block_size.bytes() as usize;
            // After a first error others are sought behind it.
            if hypr_squash::verify(&reader).is_err() {
                let _ = read_all(&reader);
            }
            if round.is_multiple_of(50) {
                let out = tempfile::tempfile().unwrap();
                let _ = hypr_squash::merge_stored(&[Arc::new(reader)], out, &MergeOptions::default());
            }
        }
        let (peak, largest) = (PEAK.get() - before, LARGEST.get());
        // The caches hold no more than was decompressed: of each stored byte, what a codec can make of it. Sets of extended
        // attributes may have a MiB; vectors grow by doubling, and so does a table of 64 KiB of ids.
        let bound = (8 << 20) + 16 * block_size + 64 * self.bytes.len();
        assert!(largest <= (2 << 20) + 4 * block_size, "{largest} bytes at once, {flipped:?}");
        assert!(peak <= signed(bound), "{peak} bytes, {flipped:?}");
        for at in flipped {
            self.file.write_all_at(&self.bytes[at..=at], at as u64).unwrap();
        }
    }
}

#[test]
fn mutated_images_do_not_panic_or_hang_or_take_memory() {
    let codecs = [Codec::Zstd { level: 3 }, Codec::Lz4, Codec::Gzip { level: 6 }];
    let images = codecs.into_iter().flat_map(|codec| [(codec, mixed as fn(&mut Writer)), (codec, long)]);
    let images: Vec<_> = images.collect();
    std::thread::scope(|scope| {
        for half in images.chunks(3) {
            scope.spawn(move || {
                for (number, &(codec, fill)) in half.iter().enumerate() {
                    let image = Image::new(codec, fill);
                    let mut numbers = Numbers(number as u64 + 7);
                    for round in 0..MUTATIONS.div_ceil(6) {
                        image.mutate(&mut numbers, round);
                    }
                }
            });
        }
    });
}
