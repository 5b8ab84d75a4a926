package example;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Says one thing. */
public final class Sample {
    private static final Logger LOG = LoggerFactory.getLogger(Sample.class);

    private Sample() {
    }

    public static void main(String[] arguments) {
        LOG.info("sample");
    }
}
