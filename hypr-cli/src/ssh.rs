//! `--ssh`, as docker build has it.

use hypr_build::SshAgent;

/// An SSH agent and the id that mounts ask for it by.
#[derive(Debug, Clone)]
pub(crate) struct SshArg {
    pub(crate) id: String,
    pub(crate) agent: SshAgent,
}

/// Reads `default` or `ID[=SOCKET]`; without a socket it is the agent that `SSH_AUTH_SOCK` names.
pub(crate) fn parse(text: &str) -> Result<SshArg, String> {
    let (id, socket) = text.split_once('=').unwrap_or((text, ""));
    if id.is_empty() {
        return Err("an agent needs an id: `--ssh default` or `--ssh ID=SOCKET`".to_owned());
    }
    if socket.contains(',') {
        return Err(
            "several keys of one agent cannot be given as files; add them to an agent with `ssh-add`".to_owned()
        );
    }
    let agent = if socket.is_empty() { SshAgent::Environment } else { SshAgent::Socket(socket.into()) };
    Ok(SshArg { id: id.to_owned(), agent })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_those_of_docker() {
        for (text, id, agent) in [
            ("default", "default", SshAgent::Environment),
            ("github=", "github", SshAgent::Environment),
            ("github=/run/a=b", "github", SshAgent::Socket("/run/a=b".into())),
        ] {
            let read = parse(text).unwrap();
            assert_eq!((&read.id[..], read.agent), (id, agent), "{text}");
        }
        for wrong in ["", "=/run/agent", "default=/a,/b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
