//! How shell forms become argument lists.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_form_is_one_argument_of_the_shell() {
        assert_eq!(with_shell(&[], "a  b"), ["/bin/sh", "-c", "a  b"]);
        assert_eq!(with_shell(&["/bin/bash".into(), "-ec".into()], "x"), ["/bin/bash", "-ec", "x"]);
    }
}
