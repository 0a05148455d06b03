//! The table of what is supported, in `docs/dockerfile.md`: made from what the cases say that they prove.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use crate::case::{self, Case};

const BEGIN: &str = "<!-- made from the cases in tests/conformance: HYPR_CONFORMANCE_UPDATE=1 tests/run.sh -p hypr-tests --test conformance -->\n";
const END: &str = "<!-- end of what is made from the cases -->\n";

/// Compares the table in the docs with that of the cases, or writes it.
pub(crate) fn check(groups: &[&str]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dockerfile.md");
    let page = fs::read_to_string(&path).expect("docs/dockerfile.md");
    let (before, rest) = page.split_once(BEGIN).expect("the page has a place for the table");
    let (table, after) = rest.split_once(END).expect("the table has an end");
    let made = made(groups);
    if case::is_updating() {
        fs::write(&path, format!("{before}{BEGIN}{made}{END}{after}")).expect("the page can be written");
        return;
    }
    assert!(table == made, "the table in docs/dockerfile.md is stale: run the tests with HYPR_CONFORMANCE_UPDATE=1");
}

fn made(groups: &[&str]) -> String {
    let mut proofs: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for case in groups.iter().flat_map(|group| Case::of_group(group)) {
        for feature in &case.proves {
            proofs.entry(feature.clone()).or_default().push(case.name.clone());
        }
    }
    let mut table = "\n| instruction, flag or form | since | proved by |\n|---|---|---|\n".to_owned();
    for (feature, cases) in proofs {
        let links = cases.iter().map(|case| format!("[{case}](../tests/conformance/cases/{case})"));
        let _ = writeln!(table, "| {} | 0.1 | {} |", feature.replace('|', "\\|"), links.collect::<Vec<_>>().join(", "));
    }
    table.push('\n');
    table
}
