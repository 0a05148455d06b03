//! What a step may ask of the user's SSH agent.
//!
//! Requests and answers take turns, each a length (`u32`, big-endian) and so many bytes, the first of which is a type
//! (draft-ietf-sshm-ssh-agent, sections 3 and 6). A step gets the list of keys and signatures. What would change the
//! agent, as adding, removing and locking do, is refused in its place.

use std::{io, path::Path};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
};

/// The longest message, as OpenSSH has it.
const LONGEST: u32 = 256 << 10;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const SIGN_REQUEST: u8 = 13;

/// Answers the requests that come over `step`, until it says no more, with the help of the agent whose socket is at
/// `agent`.
///
/// # Errors
/// Fails when the agent is gone, or either says what is no message.
pub(super) async fn serve(mut step: impl AsyncRead + AsyncWrite + Unpin, agent: &Path) -> io::Result<()> {
    let mut agent = UnixStream::connect(agent).await?;
    while let Some(request) = receive(&mut step).await? {
        let answer = match request.first() {
            Some(&(REQUEST_IDENTITIES | SIGN_REQUEST)) => {
                send(&mut agent, &request).await?;
                receive(&mut agent).await?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
            _ => vec![FAILURE],
        };
        send(&mut step, &answer).await?;
    }
    Ok(())
}

/// The next message; `None` at the end of the stream.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let length = u32::from_be_bytes(length);
    if length > LONGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {length} bytes")));
    }
    let mut message = Vec::new();
    // Memory for what has come, not for what was announced.
    match stream.take(length.into()).read_to_end(&mut message).await? {
        count if count == length as usize => Ok(Some(message)),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes()).await?;
    stream.write_all(message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `requests`, sent at once, are answered by an agent that says each request back, and what it was asked.
    async fn asked(requests: &[u8]) -> (Vec<u8>, Vec<Vec<u8>>, io::Result<()>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let agent = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            while let Some(request) = receive(&mut stream).await.unwrap() {
                send(&mut stream, &request).await.unwrap();
                heard.push(request);
            }
            heard
        });
        let (mut step, theirs) = tokio::io::duplex(1 << 20);
        step.write_all(requests).await.unwrap();
        step.shutdown().await.unwrap();
        let served = serve(theirs, &path).await;
        let mut answers = Vec::new();
        step.read_to_end(&mut answers).await.unwrap();
        (answers, agent.await.unwrap(), served)
    }

    fn message(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat()
    }

    #[tokio::test]
    async fn keys_are_listed_and_sign_and_nothing_else() {
        let (list, sign) = ([REQUEST_IDENTITIES], [&[SIGN_REQUEST][..], &[7; 70_000]].concat());
        // Adding, removing one and all, locking, an extension, and no message at all.
        let refused = [&[17, 1][..], &[18], &[19], &[22, 0], &[27, 0], &[]];
        let mut requests = vec![&list[..], &sign];
        requests.extend(refused);
        requests.push(&list);
        let sent: Vec<u8> = requests.iter().flat_map(|request| message(request)).collect();
        let (answers, heard, served) = asked(&sent).await;
        served.unwrap();
        assert_eq!(heard, [&list[..], &sign, &list]);
        let expected: Vec<u8> =
            [&list[..], &sign].into_iter().chain([&[FAILURE][..]; 6]).chain([&list[..]]).flat_map(message).collect();
        assert_eq!(answers, expected);
    }

    #[tokio::test]
    async fn what_is_no_message_ends_the_conversation() {
        for wrong in [&[0, 0][..], &[0, 0, 0, 5, 11], &[0, 4, 0, 1], &[255; 4]] {
            let (answers, heard, served) = asked(wrong).await;
            assert!(served.is_err() && answers.is_empty() && heard.is_empty(), "{wrong:?}");
        }
    }
}
