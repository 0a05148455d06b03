//! The table: medians, the ratio to the best peer, and the machine that they were measured on.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::Result;

const BEGIN: &str = "<!-- peers: begin; written by `peers`, not by hand -->";
const END: &str = "<!-- peers: end -->";

pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) place: String,
    /// Our time as a part of the best peer's, at most.
    pub(crate) bar: f64,
    /// Tool and median; ours first.
    pub(crate) measured: Vec<(&'static str, Option<Duration>)>,
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        let (ours, peers) = self.measured.split_first()?;
        let best = peers.iter().filter_map(|(_, time)| *time).min()?;
        Some(ours.1?.as_secs_f64() / best.as_secs_f64())
    }
}

pub(crate) fn median(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// One row for people who wait.
pub(crate) fn line(row: &Row) -> String {
    let times: Vec<_> = row.measured.iter().map(|(tool, time)| format!("{tool} {}", seconds(*time))).collect();
    format!("{} ({}): {}, ratio {}", row.scenario, row.place, times.join(", "), ratio(row))
}

pub(crate) fn render(rows: &[Row]) -> String {
    let Some(first) = rows.first() else { return String::new() };
    let tools: Vec<_> = first.measured.iter().map(|(tool, _)| *tool).collect();
    let mut text = format!("{}\n\n| scenario | on | {} | ours / best peer | at most |\n", machine(), tools.join(" | "));
    let _ = writeln!(text, "|---|---|{}---|---|", "---|".repeat(tools.len()));
    for row in rows {
        let times: Vec<_> = row.measured.iter().map(|(_, time)| seconds(*time)).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {:.3} |",
            row.scenario,
            row.place,
            times.join(" | "),
            ratio(row),
            row.bar
        );
    }
    text
}

/// Puts the table between its marks, which the file must have.
pub(crate) fn put(readme: &Path, table: &str) -> Result<()> {
    let text = fs::read_to_string(readme)?;
    let (begin, end) = marks(readme, &text)?;
    let text = format!("{}{BEGIN}\n{table}{}", &text[..begin], &text[end..]);
    Ok(fs::write(readme, text)?)
}

/// Puts single rows into the table that is there, in place of those of the same scenario and file system or at the end.
/// Below the table it says when they were measured.
pub(crate) fn put_rows(readme: &Path, rows: &[Row]) -> Result<()> {
    let text = fs::read_to_string(readme)?;
    let (begin, end) = marks(readme, &text)?;
    let mut lines: Vec<String> = text[begin + BEGIN.len()..end].trim().lines().map(str::to_owned).collect();
    let header = lines.iter().find(|line| line.starts_with("| scenario |")).cloned().unwrap_or_default();
    let tools: Vec<&str> = header.split(" | ").skip(2).collect();
    for row in rows {
        let time = |tool: &str| row.measured.iter().find(|(name, _)| *name == tool).and_then(|(_, time)| *time);
        let times = tools.iter().take(tools.len().saturating_sub(2)).map(|tool| seconds(time(tool)));
        let start = format!("| {} | {} |", row.scenario, row.place);
        let times = times.collect::<Vec<_>>().join(" | ");
        let line = format!("{start} {times} | {} | {:.3} |", ratio(row), row.bar);
        let last = lines.iter().rposition(|line| line.starts_with("| ")).map_or(lines.len(), |at| at + 1);
        match lines.iter_mut().find(|line| line.starts_with(&start)) {
            Some(there) => *there = line,
            None => lines.insert(last, line),
        }
    }
    let measured = rows.iter().map(|row| format!("{} on {}", row.scenario, row.place)).collect();
    note(&mut lines, measured, machine());
    Ok(fs::write(readme, format!("{}{BEGIN}\n{}\n{}", &text[..begin], lines.join("\n"), &text[end..]))?)
}

/// Says below the table that these rows are of a run of their own, and no longer of that which they were measured in before.
fn note(lines: &mut Vec<String>, measured: Vec<String>, machine: String) {
    const ALONE: &str = "Measured alone: ";
    let table = lines.iter().rposition(|line| line.starts_with("| ")).map_or(lines.len(), |at| at + 1);
    let mut runs: Vec<(String, Vec<String>)> = Vec::new();
    let before = lines.split_off(table);
    let before = before.iter().filter_map(|line| line.strip_prefix(ALONE)?.split_once(". "));
    for (names, state) in before {
        let names = names.split("; ").filter(|name| measured.iter().all(|new| new != name)).map(str::to_owned);
        match runs.iter_mut().find(|(of, _)| of == state) {
            Some((_, there)) => there.extend(names),
            None => runs.push((state.to_owned(), names.collect())),
        }
    }
    runs.push((machine, measured));
    runs.retain(|(_, names)| !names.is_empty());
    for (state, names) in runs {
        lines.push(String::new());
        lines.push(format!("{ALONE}{}. {state}", names.join("; ")));
    }
}

fn marks(readme: &Path, text: &str) -> Result<(usize, usize)> {
    match (text.find(BEGIN), text.find(END)) {
        (Some(begin), Some(end)) if begin < end => Ok((begin, end)),
        _ => Err(format!("{} has no marks for the table", readme.display()).into()),
    }
}

/// The type of the file system that a directory is on.
pub(crate) fn file_system(place: &Path) -> String {
    printed(Command::new("stat").args(["--file-system", "--format=%T"]).arg(place)).replace("ext2/ext3", "ext4")
}

fn seconds(time: Option<Duration>) -> String {
    time.map_or_else(|| "-".to_owned(), |time| format!("{:.3}", time.as_secs_f64()))
}

fn ratio(row: &Row) -> String {
    row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.3}"))
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let versions = [
        printed(Command::new("uname").arg("-r")),
        printed(Command::new("/usr/bin/docker").arg("--version")),
        printed(Command::new("buildah").arg("--version")),
    ];
    let date = printed(Command::new("date").args(["--utc", "+%F"]));
    format!("Wall seconds, medians. {date}, {cores} cores, load {load} at the end; kernel {}.", versions.join("; "))
}

/// What a command prints, or nothing.
fn printed(command: &mut Command) -> String {
    let output = command.output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::note;

    #[test]
    fn a_row_is_of_the_run_that_measured_it_last() {
        let mut lines: Vec<String> =
            ["| a | b |", "", "Measured alone: x on ext4. Monday.", "Measured alone: y on ext4. Monday."]
                .map(str::to_owned)
                .into();
        note(&mut lines, vec!["y on ext4".to_owned(), "z on tmpfs".to_owned()], "Tuesday.".to_owned());
        let told = [
            "| a | b |",
            "",
            "Measured alone: x on ext4. Monday.",
            "",
            "Measured alone: y on ext4; z on tmpfs. Tuesday.",
        ];
        assert_eq!(lines, told);
        note(&mut lines, vec!["x on ext4".to_owned()], "Wednesday.".to_owned());
        assert_eq!(lines[1..], ["", told[4], "", "Measured alone: x on ext4. Wednesday."]);
    }
}
