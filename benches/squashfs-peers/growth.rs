//! How the cost grows with the number of files and of layers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::measure;
use crate::table::Table;
use crate::tools::{self, Tool};

/// Packs and merges 1, 4 and 16 times as many small files; the merge is of two layers.
pub(crate) fn files(hypr: &Path, folder: &Path, rounds: usize) -> Result<Table> {
    let mut rows = Vec::new();
    for files in [2500, 10_000, 40_000] {
        let sources = (0..2).map(|seed| source(folder, seed, files)).collect::<Result<Vec<_>>>()?;
        let layers = images(hypr, &sources)?;
        let output = folder.join("grown.squashfs");
        let mut pack = tools::hypr(hypr);
        pack.arg("pack").arg(&sources[0]).arg("-o").arg(&output);
        let mut tools = [Tool::new("pack", pack, None), Tool::new("merge", merge(hypr, &layers, &output), None)];
        for (mut row, files) in tools::measure(&mut tools, &output, rounds)?.into_iter().zip([files, 2 * files]) {
            row.name = format!("{} of {files} files", row.name);
            rows.push(row);
        }
        remove(&sources, &layers)?;
    }
    rows.sort_by_key(|row| row.name.starts_with("merge"));
    Ok(Table::plain("Growth with the number of files, 0.5 to 8 KB each; the merge is of two layers".to_owned(), rows))
}

/// Merges 2, 8, 32 and 128 layers of 500 files each.
pub(crate) fn layers(hypr: &Path, folder: &Path, rounds: usize) -> Result<Table> {
    let mut rows = Vec::new();
    for count in [2, 8, 32, 128] {
        let sources = (0..count).map(|seed| source(folder, seed, 500)).collect::<Result<Vec<_>>>()?;
        let layers = images(hypr, &sources)?;
        let output = folder.join("grown.squashfs");
        let mut tools = [Tool::new("merge", merge(hypr, &layers, &output), None)];
        for mut row in tools::measure(&mut tools, &output, rounds)? {
            row.name = format!("merge of {count} layers");
            rows.push(row);
        }
        remove(&sources, &layers)?;
    }
    Ok(Table::plain("Growth with the number of layers, 500 files each".to_owned(), rows))
}

fn merge(hypr: &Path, layers: &[PathBuf], output: &Path) -> Command {
    let mut command = tools::hypr(hypr);
    command.arg("merge").args(layers).arg("-o").arg(output);
    command
}

fn images(hypr: &Path, sources: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let image = |source: &PathBuf| {
        let image = source.with_extension("squashfs");
        measure::run(tools::hypr(hypr).arg("pack").arg(source).arg("-o").arg(&image).arg("--index"), None)?;
        Ok(image)
    };
    sources.iter().map(image).collect()
}

/// A directory of files of text, fifty a directory, the same for the same seed.
fn source(folder: &Path, seed: u64, files: usize) -> Result<PathBuf> {
    let source = folder.join(format!("grown-{seed}"));
    let mut state = (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut text = String::new();
    for number in 0..files {
        let directory = source.join(format!("usr/share/{}", number / 50));
        if number.is_multiple_of(50) {
            fs::create_dir_all(&directory)?;
        }
        text.clear();
        let length = 512 + usize::try_from(state % 8000)?;
        while text.len() < length {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(&format!("{}: {:x} of {seed}\n", text.len(), state & 0xffff));
        }
        fs::write(directory.join(format!("{seed}-{number}")), &text)?;
    }
    Ok(source)
}

fn remove(sources: &[PathBuf], layers: &[PathBuf]) -> Result<()> {
    sources.iter().try_for_each(fs::remove_dir_all)?;
    for layer in layers {
        fs::remove_file(layer)?;
        fs::remove_file(layer.with_extension("index"))?;
    }
    Ok(())
}
