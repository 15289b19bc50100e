//! Writes a tar archive of a few files in memory. Source: POSIX.1-2017, `pax`, section "ustar Interchange Format".

use wire::Wall;

const BLOCK: usize = 512;

/// An archive of these files, all of mode 0600. Names are cut at 100 bytes.
pub fn archive(files: &[(String, Vec<u8>)], at: Wall) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        archive.extend_from_slice(&header(name, content.len(), at));
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(BLOCK), 0);
    }
    // Two empty blocks end it.
    archive.resize(archive.len() + 2 * BLOCK, 0);
    archive
}

fn header(name: &str, length: usize, at: Wall) -> [u8; BLOCK] {
    let mut header = [0; BLOCK];
    let name = &name.as_bytes()[..name.len().min(100)];
    let seconds = at.0.max(0) / 1_000;
    put(&mut header, 0, name);
    put(&mut header, 100, b"0000600\0");
    put(&mut header, 108, b"0000000\0");
    put(&mut header, 116, b"0000000\0");
    put(&mut header, 124, format!("{length:011o}\0").as_bytes());
    put(&mut header, 136, format!("{seconds:011o}\0").as_bytes());
    header[156] = b'0';
    put(&mut header, 257, b"ustar\x0000");
    // The sum counts its own field as spaces.
    put(&mut header, 148, b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut header, 148, format!("{sum:06o}\0 ").as_bytes());
    header
}

fn put(header: &mut [u8; BLOCK], at: usize, bytes: &[u8]) {
    header[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn tar_unpacks_what_was_put_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = [
            ("a.txt".to_owned(), b"one".to_vec()),
            ("b/c.txt".to_owned(), vec![b'x'; 1_025]),
            ("d".to_owned(), Vec::new()),
        ];
        let path = folder.path().join("x.tar");
        std::fs::write(&path, archive(&files, Wall(1_800_000_000_000))).expect("written");
        let unpacked = Command::new("tar")
            .current_dir(folder.path())
            .args(["-xf", "x.tar"])
            .status()
            .expect("tar is on every machine");
        assert!(unpacked.success());
        for (name, content) in files {
            assert_eq!(
                std::fs::read(folder.path().join(&name)).expect(&name),
                content,
                "{name}"
            );
        }
    }
}
