//! Asks an SSH agent, as a step does: compiled by the tests into one static program.
//!
//! `ask SOCKET CONNECTIONS BYTES` makes all connections first and then, on each, has so many bytes signed, asks for the
//! removal of all keys, and waits for the end. `ask SOCKET wait` asks once and waits for the answer.

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    process::exit,
};

const FAILURE: u8 = 5;
const SIGN_REQUEST: u8 = 13;
const REMOVE_ALL: u8 = 19;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    match &args[1..] {
        [socket, wait] if wait == "wait" => {
            let mut stream = connect(socket);
            send(&mut stream, &[SIGN_REQUEST]);
            println!("asked");
            let _ = receive(&mut stream);
        }
        [socket, connections, bytes] => {
            let (count, length) = (connections.parse::<usize>().unwrap(), bytes.parse::<usize>().unwrap());
            let mut streams: Vec<UnixStream> = (0..count).map(|_| connect(socket)).collect();
            for (number, mut stream) in streams.drain(..).enumerate() {
                if let Err(error) = talk(&mut stream, length) {
                    println!("connection {number}: {error}");
                    exit(2);
                }
            }
            println!("{count} answered");
        }
        _ => exit(64),
    }
}

fn connect(socket: &str) -> UnixStream {
    UnixStream::connect(socket).unwrap_or_else(|error| {
        println!("cannot connect: {error}");
        exit(1)
    })
}

fn talk(stream: &mut UnixStream, length: usize) -> std::io::Result<()> {
    let request: Vec<u8> = std::iter::once(SIGN_REQUEST).chain((1..length).map(|at| (at % 251) as u8)).collect();
    let mut writer = stream.try_clone()?;
    let sent = request.clone();
    let writing = std::thread::spawn(move || {
        send(&mut writer, &sent);
        send(&mut writer, &[REMOVE_ALL]);
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let answers = (receive(stream)?, receive(stream)?);
    writing.join().unwrap();
    if answers != (request, vec![FAILURE]) {
        return Err(std::io::Error::other("other answers"));
    }
    match stream.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(std::io::Error::other("more than the answers")),
    }
}

fn send(stream: &mut UnixStream, message: &[u8]) {
    let _ = stream.write_all(&(message.len() as u32).to_be_bytes());
    let _ = stream.write_all(message);
}

fn receive(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut message)?;
    Ok(message)
}
