//! A refrigerator: a two-point controller holds the cabinet at its set point.

use proto::Nanos;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Sample, Source, TICK, time_of};
use crate::demo::ledger::Expected;

const SHELVES: usize = 8;
const AMBIENT: f64 = 22.0;
/// The compressor starts this far above the set point and stops as far below.
const HYSTERESIS: f64 = 1.0;
/// The set point changes after so many ticks, so that the loop has something to do.
const SET_POINT_TICKS: u64 = 100;
/// The door is open for the first ten of so many ticks.
const DOOR_TICKS: u64 = 150;

#[derive(Debug)]
pub(crate) struct Fridge {
    noise: StdRng,
    cabinet: f64,
    evaporator: f64,
    condenser: f64,
    compressor: bool,
    starts: u32,
    running_seconds: f64,
    energy: f64,
}

#[derive(Clone, Copy)]
enum Reading {
    Number(f64),
    Bool(bool),
}

impl Fridge {
    pub(crate) fn new(seed: u64) -> Fridge {
        Fridge {
            noise: StdRng::seed_from_u64(seed),
            cabinet: 6.5,
            evaporator: 2.0,
            condenser: 30.0,
            compressor: false,
            starts: 0,
            running_seconds: 0.0,
            energy: 0.0,
        }
    }

    fn set_point(number: u64) -> f64 {
        if (number / SET_POINT_TICKS).is_multiple_of(2) {
            5.0
        } else {
            4.5
        }
    }

    fn door_is_open(number: u64) -> bool {
        number % DOOR_TICKS < 10
    }

    /// One step of the control loop and of the physics behind it.
    fn step(&mut self, number: u64) {
        let seconds = TICK.as_secs_f64();
        let set_point = Fridge::set_point(number);
        let was_running = self.compressor;
        if self.cabinet > set_point + HYSTERESIS {
            self.compressor = true;
        } else if self.cabinet < set_point - HYSTERESIS {
            self.compressor = false;
        }
        self.starts += u32::from(self.compressor && !was_running);
        let leak = if Fridge::door_is_open(number) {
            0.06
        } else {
            0.012
        };
        let (evaporator_target, condenser_target) = if self.compressor {
            (-12.0, 46.0)
        } else {
            (self.cabinet, AMBIENT)
        };
        self.evaporator += (evaporator_target - self.evaporator) * 0.8 * seconds;
        self.condenser += (condenser_target - self.condenser) * 0.5 * seconds;
        self.cabinet += (AMBIENT - self.cabinet) * leak * seconds;
        self.cabinet += (self.evaporator - self.cabinet) * 0.08 * seconds;
        if self.compressor {
            self.running_seconds += seconds;
            self.energy += 145.0 * seconds / 3600.0;
        }
    }

    fn noisy(&mut self, value: f64, width: f64) -> Reading {
        Reading::Number(value + self.noise.random_range(-width..width))
    }

    fn readings(&mut self, number: u64) -> Vec<(String, Reading)> {
        let load = f64::from(u8::from(self.compressor));
        let (cabinet, evaporator, condenser) = (self.cabinet, self.evaporator, self.condenser);
        let mut readings = vec![
            (
                "control/set_point".into(),
                Reading::Number(Fridge::set_point(number)),
            ),
            ("control/temperature".into(), self.noisy(cabinet, 0.02)),
            ("control/compressor".into(), Reading::Bool(self.compressor)),
            (
                "control/door_open".into(),
                Reading::Bool(Fridge::door_is_open(number)),
            ),
        ];
        let measured = [
            ("circuit/evaporator_inlet", evaporator - 1.2, 0.05),
            ("circuit/evaporator_outlet", evaporator + 2.3, 0.05),
            ("circuit/condenser_inlet", condenser + 4.0, 0.05),
            ("circuit/condenser_outlet", condenser - 3.0, 0.05),
            ("circuit/superheat", 5.0 + load, 0.1),
            ("circuit/subcooling", 4.0 + load, 0.1),
            ("circuit/suction_pressure", 1.1 - 0.4 * load, 0.01),
            ("circuit/discharge_pressure", 5.0 + 4.2 * load, 0.02),
            ("circuit/flow", 0.8 * load, 0.005),
            ("drive/current", 0.1 + 1.1 * load, 0.01),
            ("drive/voltage", 230.0, 0.5),
            ("drive/power", 4.0 + 145.0 * load, 0.8),
            ("drive/power_factor", 0.95 - 0.2 * load, 0.005),
            ("drive/speed", 2950.0 * load, 3.0),
            ("drive/winding_temperature", 35.0 + 0.4 * condenser, 0.1),
            ("fan/evaporator_speed", 1200.0 * load, 5.0),
            ("fan/condenser_speed", 900.0 * load, 5.0),
            ("room/temperature", AMBIENT, 0.05),
            ("room/humidity", 48.0, 0.3),
            ("cabinet/humidity", 62.0 - cabinet, 0.3),
        ];
        for (name, value, width) in measured {
            let reading = self.noisy(value, width);
            readings.push((name.into(), reading));
        }
        for shelf in 1..=SHELVES {
            let height = f64::from(u32::try_from(shelf).unwrap_or(0));
            let reading = self.noisy(cabinet + 0.15 * height, 0.05);
            readings.push((format!("cabinet/shelf_{shelf}"), reading));
        }
        readings.push(("count/starts".into(), Reading::Number(self.starts.into())));
        readings.push((
            "count/running_seconds".into(),
            Reading::Number(self.running_seconds),
        ));
        readings.push(("count/energy".into(), Reading::Number(self.energy)));
        readings
    }
}

impl Source for Fridge {
    fn topics(&self) -> Vec<String> {
        let readings = Fridge::new(0).readings(0);
        readings
            .into_iter()
            .map(|(name, _)| format!("_raw/{name}"))
            .collect()
    }

    fn tick(&mut self, number: u64, start: Nanos) -> Vec<Sample> {
        self.step(number);
        let time = time_of(number, start);
        let readings = self.readings(number).into_iter().enumerate();
        readings
            .map(|(topic, (_, reading))| sample(topic, time, reading))
            .collect()
    }
}

fn sample(topic: usize, time: Nanos, reading: Reading) -> Sample {
    let millis = time.0 / 1_000_000;
    let (json, value) = match reading {
        // The shortest digits that read as the very same number.
        Reading::Number(number) => (
            serde_json::Value::from(number),
            Expected::Number(number.to_bits()),
        ),
        Reading::Bool(value) => (value.into(), Expected::Bool(value)),
    };
    let payload = format!(r#"{{"timestamp_ms":{millis},"value":{json}}}"#).into_bytes();
    Sample {
        topic,
        time,
        payload,
        value,
    }
}

#[cfg(test)]
mod tests {
    use proto::Record;
    use proto::payload::{Content, read};

    use super::*;

    #[test]
    fn the_control_loop_holds_the_temperature() {
        let mut fridge = Fridge::new(1);
        for number in 0..6000 {
            fridge.step(number);
            if number > 600 {
                let off = (fridge.cabinet - Fridge::set_point(number)).abs();
                assert!(off < 2.5, "{} at tick {number}", fridge.cabinet);
            }
        }
        assert!(fridge.starts > 3, "{}", fridge.starts);
    }

    #[test]
    fn payloads_say_what_is_expected_of_the_historian() {
        let mut fridge = Fridge::new(1);
        let topics = fridge.topics();
        assert!((30..50).contains(&topics.len()));
        let start = Nanos(1_700_000_000_000_000_000);
        for sample in fridge.tick(3, start) {
            let topic = format!("umh/v1/acme/{}", topics[sample.topic]);
            let record = Record::message(topic, sample.payload, Nanos(0));
            let Content::Samples(samples) = read(&record) else {
                panic!("{record:?}")
            };
            assert_eq!(samples[0].time, Nanos(start.0 + 300_000_000));
            let found = match samples[0].value {
                proto::Value::F64(number) => Expected::Number(number.to_bits()),
                proto::Value::Bool(value) => Expected::Bool(value),
                ref other => panic!("{other:?}"),
            };
            assert_eq!(found, sample.value);
        }
    }
}
