//! Content: reading, writing, lengths, space.

use std::{
    io::{ErrorKind, IoSlice},
    sync::mpsc,
};

use bytes::Bytes;
use trilith_env::{DIRECT_ALIGN, OpenMode};

use super::{Place, kind_naming, read, read_all, write};

pub fn what_was_written_is_read(p: &Place<'_>) {
    let file = p.create("f");
    let data: Vec<u8> = (0..20_000u32).map(|i| i as u8 ^ (i >> 8) as u8).collect();
    write(&*file, 0, &data);
    assert_eq!(read_all(&*file), data);
    write(&*file, 4090, b"across a page");
    assert_eq!(
        read(&*file, 4089, 15),
        [&data[4089..4090], b"across a page", &data[4103..4104]].concat()
    );
    assert_eq!(file.len().unwrap(), 20_000);
    write(&*file, 3, b"");
    assert_eq!(file.len().unwrap(), 20_000);
}

pub fn parts_are_written_one_after_another(p: &Place<'_>) {
    let file = p.create("f");
    let parts = [&b"one "[..], b"", b"two ", b"three"].map(IoSlice::new);
    file.write_at(2, &parts).unwrap();
    assert_eq!(read_all(&*file), b"\0\0one two three");
    file.write_at(0, &[]).unwrap();
    let parts = [&b"A"[..], b"B"].map(Bytes::from_static).to_vec();
    file.submit_write(0, parts).wait().unwrap();
    assert_eq!(read_all(&*file), b"ABone two three");
}

pub fn many_parts_are_written_whole(p: &Place<'_>) {
    let file = p.create("f");
    let numbers: Vec<[u8; 4]> = (0..3000u32).map(u32::to_le_bytes).collect();
    let parts: Vec<_> = numbers.iter().map(|n| IoSlice::new(n)).collect();
    file.write_at(1, &parts).unwrap();
    assert_eq!(read(&*file, 1, 12_000), numbers.concat());
    assert_eq!(file.len().unwrap(), 12_001);
}

pub fn a_hole_reads_as_zeros(p: &Place<'_>) {
    let file = p.create("f");
    write(&*file, 10_000, b"x");
    assert_eq!(read(&*file, 0, 10_000), vec![0; 10_000]);
    assert_eq!(file.len().unwrap(), 10_001);
}

pub fn reads_end_at_the_end(p: &Place<'_>) {
    let file = p.filled("f", b"12345");
    assert_eq!(read(&*file, 3, 100), b"45");
    assert_eq!(read(&*file, 5, 1), b"");
    assert_eq!(read(&*file, 1 << 40, 1), b"");
    assert_eq!(read(&*file, 0, 0), b"");
}

pub fn a_file_is_cut_and_extended(p: &Place<'_>) {
    let file = p.filled("f", &[7; 9000]);
    file.set_len(4097).unwrap();
    assert_eq!(read_all(&*file), [7; 4097]);
    file.set_len(9000).unwrap();
    let mut expected = vec![7; 4097];
    expected.resize(9000, 0);
    assert_eq!(read_all(&*file), expected);
    file.set_len(0).unwrap();
    file.set_len(0).unwrap();
    assert!(file.is_empty().unwrap());
    let refused = file.set_len(u64::MAX);
    assert!(refused.is_err());
}

pub fn allocating_extends_and_keeps(p: &Place<'_>) {
    let file = p.filled("f", b"abc");
    file.allocate(0, 10_000).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    assert_eq!(read(&*file, 0, 5), b"abc\0\0");
    file.allocate(100, 5).unwrap();
    file.allocate(0, 0).unwrap();
    assert_eq!(file.len().unwrap(), 10_000);
    let path = p.path("f");
    assert!(matches!(
        kind_naming(&path, file.allocate(u64::MAX - 1, 10)),
        ErrorKind::InvalidInput | ErrorKind::FileTooLarge
    ));
    assert_eq!(file.len().unwrap(), 10_000);
}

pub fn work_that_may_wait_is_done(p: &Place<'_>) {
    let file = p.filled("f", b"data");
    let (done, told) = mpsc::channel();
    p.disk.run(Box::new(move || {
        file.sync().unwrap();
        done.send(read_all(&*file)).unwrap();
    }));
    assert_eq!(told.recv().unwrap(), b"data");
}

pub fn submitted_operations_complete(p: &Place<'_>) {
    let file = p.create("f");
    file.submit_write(0, vec![Bytes::from_static(b"data")])
        .wait()
        .unwrap();
    file.submit_sync().wait().unwrap();
    file.sync().unwrap();
    assert_eq!(read_all(&*file), b"data");
    let files: Vec<_> = (0..20).map(|n| p.filled(&n.to_string(), b"x")).collect();
    let (done, answers) = mpsc::channel();
    let completions: Vec<_> = files.iter().map(|f| f.submit_sync()).collect();
    let last = completions.into_iter().reduce(|a, b| {
        let done = done.clone();
        a.then(move |r| done.send(r.is_ok()).unwrap());
        b
    });
    last.unwrap().wait().unwrap();
    // The others are answered, now or later, on whichever thread carries them out.
    for file in &files {
        file.submit_sync().wait().unwrap();
    }
    drop((done, files));
    let mut answered = 0;
    while answered < 19 {
        match answers.try_recv() {
            Ok(ok) => {
                assert!(ok);
                answered += 1;
            }
            // A slow disk moves when somebody waits for it.
            Err(_) => file.submit_sync().wait().unwrap(),
        }
    }
}

pub fn handles_share_a_file(p: &Place<'_>) {
    let a = p.filled("f", b"one");
    let b = p.disk.open(&p.path("f"), OpenMode::Existing).unwrap();
    write(&*b, 3, b" two");
    drop(b);
    assert_eq!(read_all(&*a), b"one two");
}

pub fn read_only_means_it(p: &Place<'_>) {
    p.filled("f", b"safe");
    let file = p.disk.open(&p.path("f"), OpenMode::ReadOnly).unwrap();
    let path = p.path("f");
    kind_naming(&path, file.write_at(0, &[IoSlice::new(b"X")]));
    kind_naming(
        &path,
        file.submit_write(0, vec![Bytes::from_static(b"X")]).wait(),
    );
    kind_naming(&path, file.set_len(0));
    kind_naming(&path, file.allocate(0, 100));
    assert_eq!(read_all(&*file), b"safe");
}

/// Whole blocks at an address that is a multiple of [`DIRECT_ALIGN`], so that they can bypass
/// the page cache.
fn aligned_blocks(fill: &[u8]) -> Bytes {
    let len = fill.len() * DIRECT_ALIGN;
    let mut space = vec![0; len + DIRECT_ALIGN];
    let start = space.as_ptr().align_offset(DIRECT_ALIGN);
    for (block, &fill) in space[start..].chunks_mut(DIRECT_ALIGN).zip(fill) {
        block.fill(fill);
    }
    Bytes::from(space).slice(start..start + len)
}

pub fn durable_writes_are_read_whatever_their_alignment(p: &Place<'_>) {
    let file = p.filled("f", &[1; 3 * DIRECT_ALIGN]);
    let at = |block: usize| (block * DIRECT_ALIGN) as u64;
    let parts = vec![aligned_blocks(&[2]), aligned_blocks(&[3, 4])];
    file.submit_write_durable(at(1), parts).wait().unwrap();
    let fills = |p: &Place<'_>| -> Vec<u8> {
        p.content("f")
            .chunks(DIRECT_ALIGN)
            .map(|block| block[7])
            .collect()
    };
    assert_eq!((fills(p), file.len().unwrap()), (vec![1, 2, 3, 4], at(4)));
    let odd = vec![Bytes::from_static(b"odd")];
    file.submit_write_durable(at(2) + 6, odd).wait().unwrap();
    assert_eq!(read(&*file, at(2) + 5, 5), b"\x03odd\x03");
    assert_eq!(file.durable_writes(), file.durable_writes());
}
