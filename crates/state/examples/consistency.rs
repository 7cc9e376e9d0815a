//! What consistency costs: Cloudburst's workload at every level, and writes at every durability, in one run.
//!
//! `cargo run --release -p squall-state --example consistency -- DIR [RUNS] [ROUNDS]` prints a table as Markdown: for
//! each level the median and 99th percentile of a run's time by its number of functions, both relative to `lww`, and the
//! bytes of metadata per key; for each durability the time of a put by one writer. Levels take turns, round by round.
//! The network between caches and home is simulated (0 to 1 ms each way, pushes 0 to 20 ms; tokio's timer rounds up to
//! milliseconds); the store is on disk, below DIR.

#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use squall_state::history::workload::{Shape, Workload};
use squall_state::transport::{Unsteady, Weather};
use squall_state::{
    BucketName, BucketSettings, CacheId, Config, Keeping, Key, Level, SessionRequest, State, Value,
};
use squall_store::{Embedded, EmbeddedConfig, Store};
use tokio_util::sync::CancellationToken;

type Failure = Box<dyn std::error::Error>;

const CACHES: u16 = 5;
const KEYS: u32 = 100_000;
const PUTS: u32 = 1_000;
const LEVELS: [Level; 6] = [
    Level::Lww,
    Level::RepeatableRead,
    Level::SingleKeyCausal,
    Level::MultiKeyCausal,
    Level::Causal,
    Level::Atomic,
];

#[derive(Default)]
struct Measured {
    times: Vec<Duration>,
    metadata: Vec<usize>,
    restarts: u64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("give a directory to write to")?;
    let runs: u64 = arguments.next().as_deref().unwrap_or("4000").parse()?;
    let rounds: u64 = arguments.next().as_deref().unwrap_or("3").parse()?;
    let mut measured: Vec<Measured> = LEVELS.iter().map(|_| Measured::default()).collect();
    for round in 0..rounds {
        for (place, level) in LEVELS.into_iter().enumerate() {
            let below = Path::new(&dir).join(format!("{level}-{round}"));
            run(&below, level, runs, round, &mut measured[place]).await?;
        }
    }
    print_levels(&mut measured, runs * rounds);
    print_durability(&Path::new(&dir).join("durability")).await
}

async fn run(dir: &Path, level: Level, runs: u64, seed: u64, measured: &mut Measured) -> Result<(), Failure> {
    let network = Unsteady::new(Weather {
        seed: seed + 1,
        call_delay_max: Duration::from_millis(1),
        push_delay_max: Duration::from_millis(20),
        push_loss_percent: 0,
    });
    let config = Config {
        caches: CACHES,
        ..Config::default()
    };
    let state = State::open_with(open(dir)?, config, Arc::new(network)).await?;
    let bucket: BucketName = "bench".parse()?;
    let settings = BucketSettings {
        keeping: Keeping::Buffered,
        ..BucketSettings::default()
    };
    state.create_bucket(bucket.clone(), settings).await?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(state.clone().run(shutdown.clone()));
    let workload = Workload {
        level,
        bucket,
        runs,
        clients: 8,
        keys: KEYS,
        caches: CACHES,
        think_max: Duration::ZERO,
        seed: 2020 + seed,
        shape: Shape::Cloudburst,
        deaths_percent: 0,
        first: 0,
    };
    let recorded = workload.run(&state).await?;
    measured.times.extend(recorded.per_function);
    measured.restarts += recorded.restarts;
    // The workload has read every key that it touched once more, through the first cache.
    measured.metadata.extend(state.metadata_bytes(CacheId(0)));
    shutdown.cancel();
    running.await?;
    Ok(())
}

fn open(dir: &Path) -> Result<Arc<dyn Store>, Failure> {
    std::fs::create_dir_all(dir)?;
    Ok(Arc::new(Embedded::open(dir, EmbeddedConfig::default())?))
}

fn print_levels(measured: &mut [Measured], runs: u64) {
    println!(
        "| level | median ms | p99 ms | median / lww | p99 / lww | metadata bytes median | p99 | restarts |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut base = None;
    for (level, of) in LEVELS.into_iter().zip(measured) {
        of.times.sort_unstable();
        of.metadata.sort_unstable();
        let (median, p99) = (at(&of.times, 50), at(&of.times, 99));
        let (median, p99) = (median.as_secs_f64() * 1e3, p99.as_secs_f64() * 1e3);
        let (base_median, base_p99) = *base.get_or_insert((median, p99));
        let (metadata, metadata_p99) = (at(&of.metadata, 50), at(&of.metadata, 99));
        println!(
            "| {level} | {median:.3} | {p99:.3} | {:.2} | {:.2} | {metadata} | {metadata_p99} | {} of {runs} |",
            median / base_median,
            p99 / base_p99,
            of.restarts
        );
    }
}

async fn print_durability(dir: &Path) -> Result<(), Failure> {
    println!("\n| durability | put median µs | p99 µs |\n|---|---|---|");
    let state = State::open(open(dir)?, Config::default()).await?;
    let session = state.session(SessionRequest::default())?;
    for keeping in [Keeping::Memory, Keeping::Buffered, Keeping::Durable] {
        let bucket: BucketName = keeping.as_str().parse()?;
        let settings = BucketSettings {
            keeping,
            ..BucketSettings::default()
        };
        state.create_bucket(bucket.clone(), settings).await?;
        let mut times = Vec::new();
        for number in 0..PUTS {
            let key = Key::new(bucket.clone(), number.to_be_bytes().to_vec())?;
            let started = std::time::Instant::now();
            session.put(&key, Value::bytes(vec![0; 64])).await?;
            times.push(started.elapsed());
        }
        times.sort_unstable();
        let micros = |percent| at(&times, percent).as_secs_f64() * 1e6;
        println!("| {} | {:.0} | {:.0} |", keeping.as_str(), micros(50), micros(99));
    }
    Ok(())
}

fn at<T: Copy + Default>(sorted: &[T], percent: usize) -> T {
    let place = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(place).copied().unwrap_or_default()
}
