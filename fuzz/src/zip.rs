//! ZIP archives without compression, so that what is in them is found by mutation.

use flate2::Crc;

/// An archive of parts. Their sizes are those of a fuzz input.
pub fn stored_zip(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in parts {
        let mut crc = Crc::new();
        crc.update(content);
        let size = short(content.len()).to_le_bytes();
        let mut sums = crc.sum().to_le_bytes().to_vec();
        sums.extend_from_slice(&size);
        sums.extend_from_slice(&size);
        sums.extend_from_slice(&short(name.len()).to_le_bytes()[..2]);
        let at = short(archive.len()).to_le_bytes();
        archive.extend_from_slice(b"PK\x03\x04\0\0\0\0\0\0\0\0\0\0");
        archive.extend_from_slice(&sums);
        archive.extend_from_slice(&[0; 2]);
        archive.extend_from_slice(name.as_bytes());
        archive.extend_from_slice(content);
        directory.extend_from_slice(b"PK\x01\x02\0\0\0\0\0\0\0\0\0\0\0\0");
        directory.extend_from_slice(&sums);
        directory.extend_from_slice(&[0; 12]);
        directory.extend_from_slice(&at);
        directory.extend_from_slice(name.as_bytes());
    }
    let count = short(parts.len()).to_le_bytes();
    let (size, at) = (short(directory.len()).to_le_bytes(), short(archive.len()).to_le_bytes());
    archive.extend_from_slice(&directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&count[..2]);
    archive.extend_from_slice(&count[..2]);
    archive.extend_from_slice(&size);
    archive.extend_from_slice(&at);
    archive.extend_from_slice(&[0; 2]);
    archive
}

fn short(length: usize) -> u32 {
    u32::try_from(length).expect("inputs are small")
}
