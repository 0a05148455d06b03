//! What the benchmarks measure: data like that of an image, made in memory and the same every time.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use hypr_build::{Layer, LayerId, Snapshot};
use hypr_squash::{Error, Metadata, Options, Reader, Writer};

/// Files of an image: many small ones, like sources, and a few big ones, like programs.
#[derive(Debug)]
pub struct Files {
    files: Vec<(String, Vec<u8>)>,
}

impl Files {
    /// `small` files of a few kilobytes of text and `big` ones of two megabytes that compress to about half. Another
    /// `seed` gives other names and other content.
    pub fn new(seed: u64, small: usize, big: usize) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move || {
            // Xorshift: quick, and noise enough for a compressor.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        let mut files = Vec::new();
        for n in 0..small {
            let length = 512 + usize::from(next()[0]) * 32;
            let text = (0..).flat_map(|line| format!("{line}: {:?}\n", next()[0] % 16).into_bytes()).take(length);
            files.push((format!("usr/share/{}/{seed}-{n}", n % 50), text.collect()));
        }
        for n in 0..big {
            let mut bytes = Vec::with_capacity(2 << 20);
            while bytes.len() < 2 << 20 {
                bytes.extend_from_slice(&next());
                bytes.extend_from_slice(b"\x48\x89\xe5\x41\x57\x41\x56\x41");
            }
            files.push((format!("usr/lib/{seed}-{n}.so"), bytes));
        }
        Self { files }
    }

    /// Bytes of content.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, content)| content.len() as u64).sum()
    }

    /// Packs the files into a temporary file.
    ///
    /// # Errors
    /// Fails when the temporary file cannot be written.
    pub fn pack(&self, options: Options) -> Result<File, Error> {
        let file = temporary();
        let mut writer = Writer::create(file.try_clone().expect("a descriptor can be copied"), options)?;
        let metadata = Metadata { mode: 0o644, ..Metadata::default() };
        for (path, content) in &self.files {
            writer.add_file(path.as_bytes(), &metadata, &mut &content[..])?;
        }
        writer.finish()?;
        Ok(file)
    }

    /// Packs the files and opens the result.
    ///
    /// # Errors
    /// As [`pack`](Self::pack).
    pub fn layer(&self) -> Result<Arc<Reader>, Error> {
        Ok(Arc::new(Reader::open(self.pack(Options::default())?)?))
    }
}

/// An empty file without a name.
pub fn temporary() -> File {
    tempfile::tempfile().expect("a temporary file")
}

/// A snapshot with the machine's busybox, which has to be static to run, as `/bin/true`, in a file of `folder`; `None` if it has none.
///
/// # Panics
/// Panics when the file cannot be written.
pub fn busybox(folder: &Path) -> Option<Snapshot> {
    let program = fs::read("/bin/busybox").ok()?;
    let path = folder.join("busybox.squashfs");
    let file = File::create_new(&path).expect("a file of that name is new");
    let mut writer = Writer::create(file, Options::default()).expect("an image can be begun");
    let metadata = Metadata { mode: 0o755, ..Metadata::default() };
    writer.add_file(b"bin/true", &metadata, &mut &program[..]).expect("a file can be packed");
    let summary = writer.finish().expect("an image can be written");
    let id = LayerId { file: summary.file_digest.into(), content: summary.content_digest.into(), size: summary.bytes };
    Some(Snapshot::new(vec![Layer { id, path }]))
}
