//! The cases of `cargo xtask soak` that need no machine. Each takes its own generator and says what does not hold.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, bail, ensure};
use bay0_state::genesis::{Genesis, LOG_NAME, MAX_BATCH};
use bay0_state::verify_log;
use bay0_umbilical::{MAX_REQUEST, Server, packet_socket};
use nix::sys::socket::{UnixAddr, connect};

use crate::vm::cutlog::SECTOR;
use crate::vm::rng::Rng;

fn word(rng: &mut Rng) -> String {
    let length = rng.below(40) as usize;
    let bytes: Vec<u8> = rng.bytes(length).into_iter().filter(|b| *b != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Changes, removes or adds a few bytes.
fn damage(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(4) {
        let at = rng.below(bytes.len() as u64 + 1) as usize;
        match rng.below(3) {
            0 if at < bytes.len() => bytes[at] = rng.pick(&[0, b'0', b'9', 0xff, b'\n']),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, rng.next() as u8),
        }
    }
}

/// A batch of which a power cut left any choice of sectors is closed, and nothing before it is lost; a byte that changed
/// anywhere is never taken for good (S02, H19).
pub fn genesis(rng: &mut Rng) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join(LOG_NAME);
    let mut trouble = Vec::new();
    let mut open = |boot: &str| {
        Genesis::open(dir.path(), boot, &mut trouble).map_err(|e| anyhow::anyhow!("{e}"))
    };
    let mut log = open("first")?;
    let mut acknowledged = 0;
    for _ in 0..=rng.below(8) {
        acknowledged = log
            .append(&batch(rng))
            .map_err(|e| anyhow::anyhow!("{e}"))?;
    }
    let before = fs::read(&path)?;
    log.append(&batch(rng))
        .map_err(|e| anyhow::anyhow!("{e}"))?;
    let after = fs::read(&path)?;
    tear(rng, &path, &before, &after)?;
    drop(open("second")?);
    ensure!(
        trouble.is_empty(),
        "a torn batch is called broken: {trouble:?}"
    );
    let last = verify_log(&fs::read(&path)?)
        .map_err(anyhow::Error::msg)?
        .last;
    ensure!(
        last >= acknowledged,
        "record {acknowledged} is gone, the log ends at {last}"
    );
    flip(rng, &path)
}

fn batch(rng: &mut Rng) -> Vec<String> {
    (0..=rng.below(12)).map(|_| word(rng)).collect()
}

fn tear(rng: &mut Rng, path: &std::path::Path, before: &[u8], after: &[u8]) -> Result<()> {
    let sector = SECTOR as usize;
    let mut torn = before.to_vec();
    for at in (0..before.len()).step_by(sector) {
        if before[at..at + sector] != after[at..at + sector] && rng.below(2) == 0 {
            torn[at..at + sector].copy_from_slice(&after[at..at + sector]);
        }
    }
    Ok(fs::write(path, torn)?)
}

fn flip(rng: &mut Rng, path: &std::path::Path) -> Result<()> {
    let mut bytes = fs::read(path)?;
    let good =
        verify_log(&bytes).map_err(|e| anyhow::anyhow!("a good log does not verify: {e}"))?;
    let end = bytes
        .iter()
        .rposition(|b| *b != 0)
        .context("an empty log")?;
    let at = rng.below(end as u64 + 1) as usize;
    bytes[at] ^= rng.pick(&[1, 2, 4, 8, 16, 32, 64, 128]);
    let line = bytes[..at].iter().filter(|b| **b == b'\n').count() + 1;
    match verify_log(&bytes) {
        // The newline that ends the line above may be what changed: then the break is in that line, which goes on.
        Err(found) => ensure!(
            found.starts_with(&format!("line {line} ")),
            "byte {at} changed in line {line}, found: {found}"
        ),
        // A changed last newline looks like a write that was cut short. It is not good, and it is near the end.
        Ok(found) => ensure!(
            found.last < good.last && found.torn_bytes > 0 && end - at <= MAX_BATCH,
            "byte {at} changed, and the log is good: {found:?}"
        ),
    }
    Ok(())
}

/// Whatever a client sends, every answer it gets is one packet, framed as promised, and the next client is served.
pub fn umbilical(rng: &mut Rng) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("s");
    let mut server = Server::bind(&path).map_err(|e| anyhow::anyhow!("{e}"))?;
    for packet in talk(&mut server, &path, &conversation(rng))? {
        framed(&packet).with_context(|| format!("heard {:?}", String::from_utf8_lossy(&packet)))?;
    }
    let heard = talk(&mut server, &path, &[b"hello\n".to_vec()])?;
    ensure!(
        heard == [b"ok 5\nhello"],
        "after it another client heard {heard:?}"
    );
    Ok(())
}

/// One client that sends these packets; every packet it heard.
fn talk(server: &mut Server, path: &std::path::Path, packets: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
    let socket = packet_socket()?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    let mut client = UnixStream::from(socket);
    client.set_nonblocking(true)?;
    let mut heard = Vec::new();
    // Enough turns for the last answer after the last packet.
    for nth in 0..packets.len() + 8 {
        // A server that has closed is an answer too.
        let _ = packets.get(nth).map(|packet| client.write(packet));
        for (id, _) in server.turn() {
            server.reply(id, Ok("hello"), None);
        }
        let mut packet = vec![0; 4096];
        match client.read(&mut packet) {
            Ok(0) => {}
            Ok(length) => heard.push(packet[..length].to_vec()),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset) => {}
            Err(e) => return Err(e).context("read"),
        }
    }
    Ok(heard)
}

fn conversation(rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    for _ in 0..=rng.below(6) {
        let line = rng.pick::<&[u8]>(&[
            b"hello\n",
            b"status\n",
            b"validate\n",
            b"start p://x\n",
            b"\xff\xfe",
            b"",
            b"reboot",
        ]);
        let mut packet = line.to_vec();
        if rng.below(8) == 0 {
            let length = rng.below(2 * MAX_REQUEST as u64) as usize;
            packet.extend(rng.bytes(length));
        }
        if rng.below(2) == 0 {
            damage(rng, &mut packet);
        }
        packets.push(packet);
    }
    packets
}

/// `("ok" / "no") SP length LF body`, and nothing after it.
fn framed(packet: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(packet).context("an answer that is not text")?;
    let (header, body) = text.split_once('\n').context("a header without an end")?;
    let Some(("ok" | "no", length)) = header.split_once(' ') else {
        bail!("header {header:?}")
    };
    ensure!(length == body.len().to_string(), "header {header:?}");
    Ok(())
}
