//! `run`: one seed.

use std::{fs, io, path::Path, time::Instant};

use super::WorldArgs;

pub(super) fn run(
    world: &WorldArgs,
    seed: u64,
    trace: bool,
    html: Option<&Path>,
) -> io::Result<bool> {
    let sink = trace.then(|| Box::new(io::BufWriter::new(io::stdout())) as Box<dyn io::Write>);
    let began = Instant::now();
    let finished = world.run(seed, sink, html.is_some());
    let took = began.elapsed();
    if let Some(error) = finished.trace_error {
        return Err(error);
    }
    let verdict = world.verdict(seed, &finished);
    if let (Some(file), Some(picture)) = (html, &finished.picture) {
        fs::write(file, picture.to_html(&verdict)).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot write {}: {e}", file.display()))
        })?;
    }
    let rate = finished.stats.simulated.0 as f64 / 1e6 / took.as_secs_f64().max(1e-9);
    println!("{}", finished.stats.report(&world.absent()));
    println!("{rate:.0} simulated seconds a second");
    println!("{verdict}");
    Ok(finished.violation.is_none())
}
