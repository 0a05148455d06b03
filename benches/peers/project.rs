//! The build contexts of the scenarios, made up the same way every time.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::Result;

/// Numbers without a pattern that a compressor would find.
pub(crate) struct Noise(u64);

impl Noise {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            piece.copy_from_slice(&word[..piece.len()]);
        }
    }
}

/// `count` files of source-like text below `folder`, a hundred a directory.
pub(crate) fn small_files(folder: &Path, count: usize) -> Result<()> {
    let mut noise = Noise::new(count as u64);
    for number in 0..count {
        let directory = folder.join(format!("d{:04}", number / 100));
        if number % 100 == 0 {
            fs::create_dir_all(&directory)?;
        }
        let mut text = format!("file {number}\n");
        for line in 0..20 + noise.next() % 60 {
            writeln!(text, "    let value_{line} = compute({}, {:x});", number, noise.next() & 0xffff)?;
        }
        fs::write(directory.join(format!("f{number}.rs")), text)?;
    }
    Ok(())
}

/// Files of 16 MiB, together `mebibytes`, every second one without a pattern and the others compressible.
pub(crate) fn big_files(folder: &Path, mebibytes: usize) -> Result<()> {
    const FILE: usize = 16;
    fs::create_dir_all(folder)?;
    for number in 0..mebibytes / FILE {
        let mut noise = Noise::new(number as u64 + 77);
        let mut bytes = vec![0; FILE << 20];
        noise.fill(&mut bytes);
        if number % 2 == 1 {
            // Text of few letters.
            bytes.iter_mut().for_each(|byte| *byte = b"etaoin shrdlu\n"[usize::from(*byte % 14)]);
        }
        fs::write(folder.join(format!("big{number}")), bytes)?;
    }
    Ok(())
}

pub(crate) fn dockerfile(project: &Path, text: &str) -> Result<()> {
    Ok(fs::write(project.join("Dockerfile"), text)?)
}

/// A Dockerfile of a base and `instructions`.
pub(crate) fn of_instructions(base: &str, instructions: impl IntoIterator<Item = String>) -> String {
    let mut text = format!("FROM {base}\n");
    for instruction in instructions {
        text.push_str(&instruction);
        text.push('\n');
    }
    text
}
