//! `--secret`, as docker build has it.

use hypr_build::Secret;

/// A secret and the id that mounts ask for it by.
#[derive(Debug, Clone)]
pub(crate) struct SecretArg {
    pub(crate) id: String,
    pub(crate) secret: Secret,
}

/// Reads `id=ID[,src=FILE|,env=NAME][,type=file|env]`. Without a source it is the variable called ID if there is one,
/// else the file.
pub(crate) fn parse(text: &str) -> Result<SecretArg, String> {
    let (mut id, mut source, mut variable, mut kind) = (None, None, None, None);
    for field in text.split(',') {
        let (name, value) = field.split_once('=').ok_or_else(|| format!("`{field}` is not NAME=VALUE"))?;
        let place = match name.trim().to_ascii_lowercase().as_str() {
            "id" => &mut id,
            "src" | "source" => &mut source,
            "env" => &mut variable,
            "type" => &mut kind,
            other => return Err(format!("a secret has no `{other}`; it has id, src, env and type")),
        };
        *place = Some(value.to_owned());
    }
    let id = id.filter(|id| !id.is_empty()).ok_or("a secret needs `id=...`")?;
    let secret = match (kind.as_deref(), source, variable) {
        (None | Some("file" | "env"), Some(_), Some(_)) => return Err("a secret has src or env, not both".to_owned()),
        (Some("env"), Some(name), None) | (None | Some("env"), None, Some(name)) => Secret::Variable(name),
        (None | Some("file"), Some(path), None) => Secret::File(path.into()),
        (Some("file"), None, Some(_)) => return Err("a secret of type file has no env".to_owned()),
        (Some("env"), None, None) => Secret::Variable(id.clone()),
        (Some("file"), None, None) => Secret::File(id.clone().into()),
        (None, None, None) if std::env::var_os(&id).is_some() => Secret::Variable(id.clone()),
        (None, None, None) => Secret::File(id.clone().into()),
        (Some(other), ..) => return Err(format!("`type={other}` is neither file nor env")),
    };
    Ok(SecretArg { id, secret })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_those_of_docker() {
        let secret = |text| parse(text).unwrap().secret;
        assert_eq!(secret("id=a,src=/f"), Secret::File("/f".into()));
        assert_eq!(secret("id=a,source=f,type=file"), Secret::File("f".into()));
        assert_eq!(secret("id=a,env=B"), Secret::Variable("B".into()));
        assert_eq!(secret("id=a,type=env"), Secret::Variable("a".into()));
        assert_eq!(secret("type=env,id=a,src=B"), Secret::Variable("B".into()));
        assert_eq!(secret("id=PATH"), Secret::Variable("PATH".into()));
        assert_eq!(secret("id=no_such_variable"), Secret::File("no_such_variable".into()));
        for wrong in ["", "src=/f", "id=", "id=a,src=b,env=c", "id=a,type=x", "id=a,what=b", "a"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
