//! `hypr check`, and the other questions that `hypr build --call` answers without building.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use hypr_build::{Builder, CheckReport, Outline, OutlineMount, Target, Targets};
use serde_json::{Value, json};

use crate::{
    build::BuildArgs,
    failure::{Failure, escape},
    stdout,
};

/// The arguments of `hypr check`.
#[derive(Debug, Args)]
#[command(mut_arg("context", |context| context.required(false).default_value(".")))]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    build: BuildArgs,
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// How an answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// For programs, as BuildKit prints it
    Json,
}

/// What `hypr build --call` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Build,
    Check,
    Outline,
    Targets,
}

/// `--call=QUESTION[,format=FORMAT]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) question: Question,
    pub(crate) format: Format,
}

impl Call {
    /// Reads the value of `--call`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut call = Self { question: Question::Build, format: Format::Text };
        for (at, part) in text.split(',').enumerate() {
            match (at, part.split_once('=')) {
                (0, None) => {
                    call.question = match part {
                        "build" => Question::Build,
                        "check" | "lint" => Question::Check,
                        "outline" => Question::Outline,
                        "targets" => Question::Targets,
                        _ => return Err("it is none of build, check, outline and targets".to_owned()),
                    }
                }
                (_, Some(("format", "json"))) => call.format = Format::Json,
                (_, Some(("format", "text"))) => call.format = Format::Text,
                _ => return Err(format!("`{part}` is not an option of it; there is format=text and format=json")),
            }
        }
        Ok(call)
    }
}

impl CheckArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let call = Call { question: Question::Check, format: self.format };
        answer(call, self.build.builder()?)
    }
}

/// Asks and prints the answer. What a check finds is a failure, which has been told then.
pub(crate) fn answer(call: Call, builder: Builder) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match call.question {
        Question::Build => Ok(()),
        Question::Check => {
            let report = runtime.block_on(builder.check())?;
            match call.format {
                Format::Text => print_text(&check_text(&report))?,
                Format::Json => print_json(&check_json(&report))?,
            }
            match report.error {
                Some(error) if call.format == Format::Text => Err(Failure::from(error)),
                None if report.findings.is_empty() => Ok(()),
                _ => Err(Failure::Told),
            }
        }
        Question::Outline => {
            let outline = runtime.block_on(builder.outline())?;
            match call.format {
                Format::Text => print_text(&outline_text(&outline)),
                Format::Json => print_json(&outline_json(&outline)),
            }
        }
        Question::Targets => {
            let targets = runtime.block_on(builder.targets())?;
            match call.format {
                Format::Text => print_text(&targets_text(&targets)),
                Format::Json => print_json(&targets_json(&targets)),
            }
        }
    }
}

/// Prints lines without bytes that a terminal would act on.
fn print_text(text: &str) -> Result<(), Failure> {
    let text: String = text.lines().map(|line| format!("{}\n", escape(line))).collect();
    stdout::bytes(text.as_bytes())
}

fn print_json(value: &Value) -> Result<(), Failure> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    stdout::bytes(&text)
}

fn check_text(report: &CheckReport) -> String {
    let mut text = match report.findings.len() {
        // What is wrong besides is told by the error.
        0 if report.error.is_some() => String::new(),
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        count => format!("Check complete, {count} warnings have been found!\n"),
    };
    for found in &report.findings {
        let page = found.rule.url().map(|url| format!(" - {url}")).unwrap_or_default();
        let _ = writeln!(text, "\nWARNING: {}{page}\n{}", found.rule, found.detail);
        text.push_str(&lines(&report.file, report.dockerfile.source.text(), found.lines));
    }
    for (number, image) in report.unknown.iter().enumerate() {
        let break_before = if number == 0 && !report.findings.is_empty() { "\n" } else { "" };
        let _ = writeln!(
            text,
            "{break_before}note: the configuration of `{image}` is not at hand; uses of its variables are not checked"
        );
    }
    text
}

/// The lines `first` to `last`, marked, and what is around them, as buildx prints them: two lines on either side of one,
/// one of several.
fn lines(file: &str, source: &str, (first, last): (usize, usize)) -> String {
    const RULE: &str = "--------------------\n";
    let around = if first == last { 2 } else { 1 };
    let from = first.saturating_sub(around).max(1);
    let mut text = format!("{file}:{first}\n{RULE}");
    for (number, line) in (1..).zip(source.split('\n')).skip(from - 1).take(last + around + 1 - from) {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        let _ = writeln!(text, " {number:3} | {mark} {}", line.trim_end_matches('\r'));
    }
    text + RULE
}

fn check_json(report: &CheckReport) -> Value {
    let warnings = report.findings.iter().map(|found| {
        let mut warning = json!({
            "ruleName": found.rule.name(),
            "description": found.rule.description(),
            "detail": found.detail,
            "location": { "ranges": [range(found.lines.0, found.lines.1)] },
        });
        if let Some(url) = found.rule.url() {
            warning["url"] = json!(url);
        }
        warning
    });
    let mut value = json!({
        "warnings": warnings.collect::<Vec<_>>(),
        "sources": [{
            "filename": report.file,
            "language": "Dockerfile",
            "data": base64(report.dockerfile.source.text().as_bytes()),
        }],
    });
    if let Some(error) = &report.error {
        let mut location = json!({});
        if let hypr_build::Error::Plan { at, .. } = error {
            location["ranges"] = json!([range(at.line, at.line)]);
        }
        value["buildError"] = json!({ "message": chain(error), "location": location });
    }
    value
}

fn chain(error: &hypr_build::Error) -> String {
    let error: &dyn std::error::Error = error;
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}

fn range(first: usize, last: usize) -> Value {
    json!({ "start": { "line": first }, "end": { "line": last } })
}

/// A table whose columns are as wide as what is in them and `gap` more, but for the last one.
fn table<const N: usize>(gap: usize, rows: &[[&str; N]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + gap;
    let widths: [usize; N] = std::array::from_fn(|column| if column + 1 == N { 0 } else { width(column) });
    let mut text = String::new();
    for row in rows {
        text.extend(row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")));
        text.push('\n');
    }
    text
}

fn outline_text(outline: &Outline) -> String {
    let mut text = String::new();
    let described = outline.description.as_deref().map(|description| ["DESCRIPTION:", description]);
    if outline.name.is_some() || described.is_some() {
        let target = ["TARGET:", outline.name.as_deref().unwrap_or("(default)")];
        let rows: Vec<[&str; 2]> = std::iter::once(target).chain(described).collect();
        text = table(1, &rows) + "\n";
    }
    if !outline.args.is_empty() {
        let args = outline.args.iter().map(|arg| [&*arg.name, &arg.value, arg.description.as_deref().unwrap_or("")]);
        let rows: Vec<[&str; 3]> = std::iter::once(["BUILD ARG", "VALUE", "DESCRIPTION"]).chain(args).collect();
        text = text + &table(3, &rows) + "\n";
    }
    for (head, mounts) in [("SECRET", &outline.secrets), ("SSH", &outline.ssh)] {
        if !mounts.is_empty() {
            let mounts = mounts.iter().map(|mount| [&*mount.name, if mount.required { "true" } else { "" }]);
            let rows: Vec<[&str; 2]> = std::iter::once([head, "REQUIRED"]).chain(mounts).collect();
            text = text + &table(3, &rows) + "\n";
        }
    }
    text
}

fn outline_json(outline: &Outline) -> Value {
    let location = |line: usize| json!({ "ranges": [range(line, line)] });
    let args = outline.args.iter().map(|arg| {
        let mut value = json!({ "name": arg.name, "location": location(arg.line) });
        if !arg.value.is_empty() {
            value["value"] = json!(arg.value);
        }
        if let Some(description) = &arg.description {
            value["description"] = json!(description);
        }
        value
    });
    let mounts = |mounts: &[OutlineMount]| {
        let value = |mount: &OutlineMount| {
            let mut value = json!({ "name": mount.name, "location": location(mount.line) });
            if mount.required {
                value["required"] = json!(true);
            }
            value
        };
        mounts.iter().map(value).collect::<Vec<_>>()
    };
    let mut value = json!({});
    for (name, text) in [("name", &outline.name), ("description", &outline.description)] {
        if let Some(text) = text {
            value[name] = json!(text);
        }
    }
    for (name, list) in
        [("args", args.collect::<Vec<_>>()), ("secrets", mounts(&outline.secrets)), ("ssh", mounts(&outline.ssh))]
    {
        if !list.is_empty() {
            value[name] = json!(list);
        }
    }
    value["sources"] = json!([base64(outline.dockerfile.as_bytes())]);
    value
}

fn targets_text(targets: &Targets) -> String {
    let names: Vec<String> = targets
        .stages
        .iter()
        .map(|target| match (&target.name, target.is_default) {
            (Some(name), true) => format!("{name} (default)"),
            (Some(name), false) => name.clone(),
            (None, true) => "(default)".to_owned(),
            (None, false) => String::new(),
        })
        .collect();
    let stages = names.iter().zip(&targets.stages);
    let rows = stages.map(|(name, target)| [&**name, target.description.as_deref().unwrap_or_default()]);
    table(1, &std::iter::once(["TARGET", "DESCRIPTION"]).chain(rows).collect::<Vec<_>>())
}

fn targets_json(targets: &Targets) -> Value {
    let target = |target: &Target| {
        let mut value = json!({ "base": target.base, "location": { "ranges": [range(target.line, target.line)] } });
        let optional = [("name", &target.name), ("description", &target.description), ("platform", &target.platform)];
        for (key, text) in optional {
            if let Some(text) = text {
                value[key] = json!(text);
            }
        }
        if target.is_default {
            value["default"] = json!(true);
        }
        value
    };
    json!({
        "targets": targets.stages.iter().map(target).collect::<Vec<_>>(),
        "sources": [base64(targets.dockerfile.as_bytes())],
    })
}

/// Bytes as BuildKit has them in JSON.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) & 63;
            out.push(if digit <= chunk.len() { char::from(DIGITS[index as usize]) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_a_question_and_a_format() {
        for (text, expected) in [
            ("check", Some((Question::Check, Format::Text))),
            ("outline,format=json", Some((Question::Outline, Format::Json))),
            ("targets,format=text", Some((Question::Targets, Format::Text))),
            ("build", Some((Question::Build, Format::Text))),
            ("nope", None),
            ("check,format=xml", None),
            ("check,json", None),
            ("", None),
        ] {
            let call = Call::parse(text).ok().map(|call| (call.question, call.format));
            assert_eq!(call, expected, "{text:?}");
        }
    }

    #[test]
    fn bytes_have_the_usual_digits() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
