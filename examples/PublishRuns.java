import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * An internal service that hands its runs straight to Kafka and reads their ends, on a grant that an admin issued to it.
 *
 * <pre>TALLYRUN_GRANT=… KAFKA=127.0.0.1:9092 java -cp 'kafka-clients.jar:…' PublishRuns.java WORKSPACE MODEL PROMPT…</pre>
 *
 * Prints one line of JSON for each run, as it ended. Needs nothing of ours.
 */
public class PublishRuns {
    static final long MINUTE_MS = 60_000;

    public static void main(String[] words) throws Exception {
        Map<UUID, String> waiting = new HashMap<>();
        try (var consumer = new KafkaConsumer<>(settings(), new ByteArrayDeserializer(), new ByteArrayDeserializer());
                var producer = new KafkaProducer<>(settings(), new ByteArraySerializer(), new ByteArraySerializer())) {
            readFromNowOn(consumer, "runs.completed.v1");
            for (String prompt : List.of(words).subList(2, words.length)) {
                UUID runId = UUID.randomUUID();
                waiting.put(runId, prompt);
                // Returns once the broker has acknowledged: from then on the run ends, whatever is killed.
                producer.send(requested(runId, words[0], words[1], prompt)).get();
            }
            while (!waiting.isEmpty()) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    // The topic holds the ends of all runs, and the runners' journal: ours are known by their key.
                    if (type(record).equals("runs.v1.completed") && waiting.remove(runId(record)) != null) {
                        System.out.println(new String(record.value(), StandardCharsets.UTF_8));
                    }
                }
            }
        }
    }

    static Properties settings() {
        Properties settings = new Properties();
        settings.put("bootstrap.servers", System.getenv("KAFKA"));
        settings.put("acks", "all");
        settings.put("max.request.size", "10485760"); // a run may have 8 MiB; the default is 1 MiB
        settings.put("max.partition.fetch.bytes", "10485760");
        return settings;
    }

    /** Read in no group: nothing is committed, and every instance of a service sees everything. */
    static void readFromNowOn(KafkaConsumer<byte[], byte[]> consumer, String topic) {
        var partitions = consumer.partitionsFor(topic).stream()
                .map(part -> new TopicPartition(topic, part.partition())).toList();
        consumer.assign(partitions);
        consumer.seekToEnd(partitions);
        partitions.forEach(consumer::position); // seeking is lazy: now the end is known
    }

    /** The value is docs/asyncapi.json's RunRequested. Java's own partitioner is murmur2, by the key: keep to it. */
    static ProducerRecord<byte[], byte[]> requested(UUID runId, String workspace, String model, String prompt) {
        long now = System.currentTimeMillis();
        String value = """
                {"run_id": "%s", "workspace_id": "%s", "user": "PublishRuns.java", "operation": "chat",
                 "provider": "openai", "model": %s, "accepted_at": %d, "publish_by": %d, "deadline": %d,
                 "body": {"model": %s, "messages": [{"role": "user", "content": %s}]}}"""
                .formatted(runId, workspace, quoted(model), now, now + MINUTE_MS, now + 60 * MINUTE_MS,
                        quoted(model), quoted(prompt));
        var record = new ProducerRecord<byte[], byte[]>("runs.requested.v1", bytes(runId), utf8(value));
        record.headers().add("type", utf8("runs.v1.requested")).add("grant", utf8(System.getenv("TALLYRUN_GRANT")));
        return record;
    }

    static String type(ConsumerRecord<byte[], byte[]> record) {
        var header = record.headers().lastHeader("type");
        return header == null ? "" : new String(header.value(), StandardCharsets.UTF_8);
    }

    static UUID runId(ConsumerRecord<byte[], byte[]> record) {
        ByteBuffer key = ByteBuffer.wrap(record.key());
        return new UUID(key.getLong(), key.getLong());
    }

    static byte[] bytes(UUID id) {
        return ByteBuffer.allocate(16).putLong(id.getMostSignificantBits()).putLong(id.getLeastSignificantBits()).array();
    }

    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    /** A JSON string. A service of yours has a library for this. */
    static String quoted(String text) {
        StringBuilder json = new StringBuilder("\"");
        text.chars().forEach(c -> {
            if (c < 0x20 || c == '"' || c == '\\') {
                json.append("\\u%04x".formatted(c));
            } else {
                json.append((char) c);
            }
        });
        return json.append('"').toString();
    }
}
