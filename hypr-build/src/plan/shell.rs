//! How shell forms become argument lists, and how instructions look in history.

/// The shell of a stage that sets none (Dockerfile reference, "SHELL").
pub(crate) const DEFAULT_SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// The search path of a process whose image sets none.
pub(crate) const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// `command` as an argument list of `shell`.
pub(crate) fn with_shell(shell: &[String], command: &str) -> Vec<String> {
    let default = DEFAULT_SHELL.map(str::to_owned);
    let shell = if shell.is_empty() { &default[..] } else { shell };
    shell.iter().cloned().chain([command.to_owned()]).collect()
}

/// Arguments as JSON, the way history shows an exec form.
pub(crate) fn json(args: &[String]) -> String {
    let args: Vec<String> = args.iter().map(|arg| serde_json::Value::from(arg.as_str()).to_string()).collect();
    format!("[{}]", args.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_form_is_one_argument_of_the_shell() {
        assert_eq!(with_shell(&[], "a  b"), ["/bin/sh", "-c", "a  b"]);
        assert_eq!(with_shell(&["/bin/bash".into(), "-ec".into()], "x"), ["/bin/bash", "-ec", "x"]);
        assert_eq!(json(&["a\"b".into(), "c".into()]), r#"["a\"b","c"]"#);
    }
}
