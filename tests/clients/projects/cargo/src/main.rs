use either::Either;

fn main() {
    let version = semver::Version::new(1, 0, 0);
    let shown: Either<u64, String> = Either::Left(version.major);
    println!("{}", itoa::Buffer::new().format(shown.left().unwrap_or_default()));
    cfg_if::cfg_if! {
        if #[cfg(unix)] { println!("{version}") } else { println!() }
    }
}
