//! Compares configurations: what a case names has to be so, and what it names as `null` must not be there.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

/// What differs between what is expected and what was built.
///
/// Keys are those of the document's `config`, and `author`, `architecture`, `variant` and `history` of the document
/// itself. `history` is a list of the last entries, each the text of an instruction, with `(empty)` in front if it made
/// no layer.
pub(crate) fn difference(expected: &Value, built: &Value) -> String {
    let empty = Map::new();
    let mut wrong = String::new();
    for (key, value) in expected.as_object().unwrap_or(&empty) {
        let found = match key.as_str() {
            "author" | "architecture" | "variant" => built[key.as_str()].clone(),
            "history" => json!(history(built, value.as_array().map_or(0, Vec::len))),
            key => built["config"][key].clone(),
        };
        if found != *value {
            let _ = writeln!(wrong, "{key} is       {found}\n{key} should be {value}");
        }
    }
    wrong
}

fn history(built: &Value, last: usize) -> Vec<String> {
    let none = Vec::new();
    let entries = built["history"].as_array().unwrap_or(&none);
    let entries = &entries[entries.len().saturating_sub(last)..];
    let line = |entry: &Value| {
        let text = entry["created_by"].as_str().unwrap_or_default();
        if entry["empty_layer"] == json!(true) { format!("(empty) {text}") } else { text.to_owned() }
    };
    entries.iter().map(line).collect()
}
